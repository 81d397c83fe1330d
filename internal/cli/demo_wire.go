package cli

import "context"

func runDemo(context.Context, demoOptions) error {
	return ErrFailed.New("wired when package demo builds")
}
