package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/runnel-cdc/runnel/internal/strictyaml"
)

// A value is one field of a Config as the loader sees it.
type value interface {
	set(text string) error
	String() string
	// plain is the value for JSON.
	plain() any
	// takes reports whether a scalar of that YAML type may be given.
	takes(k strictyaml.Kind) bool
	// want says what to write, after "want ".
	want() string
}

type textValue struct {
	p    *string
	what string // after "want", e.g. "a folder"
}

func (v textValue) set(s string) error           { *v.p = s; return nil }
func (v textValue) String() string               { return *v.p }
func (v textValue) plain() any                   { return *v.p }
func (v textValue) takes(k strictyaml.Kind) bool { return k == strictyaml.Text }
func (v textValue) want() string                 { return v.what }

type choiceValue struct {
	p       *string
	choices []string
}

func (v choiceValue) set(s string) error {
	if !slices.Contains(v.choices, s) {
		return errors.New("want " + v.want())
	}
	*v.p = s
	return nil
}
func (v choiceValue) String() string               { return *v.p }
func (v choiceValue) plain() any                   { return *v.p }
func (v choiceValue) takes(k strictyaml.Kind) bool { return k == strictyaml.Text }
func (v choiceValue) want() string {
	if len(v.choices) == 1 {
		return v.choices[0]
	}
	return "one of " + strings.Join(v.choices, ", ")
}

type intValue struct {
	p        *int
	min, max int
}

func (v intValue) set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < v.min || n > v.max {
		return errors.New("want " + v.want())
	}
	*v.p = n
	return nil
}
func (v intValue) String() string               { return strconv.Itoa(*v.p) }
func (v intValue) plain() any                   { return *v.p }
func (v intValue) takes(k strictyaml.Kind) bool { return k == strictyaml.Int }
func (v intValue) want() string                 { return fmt.Sprintf("a whole number from %d to %d", v.min, v.max) }

type sizeValue struct {
	p        *int64
	min, max int64
}

func (v sizeValue) set(s string) error {
	n, err := ParseSize(s)
	if err != nil {
		return err
	}
	if n < v.min || n > v.max {
		return errors.New("want " + v.want())
	}
	*v.p = n
	return nil
}
func (v sizeValue) String() string               { return FormatSize(*v.p) }
func (v sizeValue) plain() any                   { return v.String() }
func (v sizeValue) takes(k strictyaml.Kind) bool { return k == strictyaml.Text || k == strictyaml.Int }
func (v sizeValue) want() string {
	return fmt.Sprintf("a size from %s to %s", FormatSize(v.min), FormatSize(v.max))
}

type durationValue struct {
	p       *time.Duration
	min     time.Duration
	forever bool
}

func (v durationValue) set(s string) error {
	if v.forever && s == "forever" {
		*v.p = Forever
		return nil
	}
	d, err := ParseDuration(s)
	if err != nil {
		return errors.New("want " + v.want())
	}
	if d < v.min {
		return fmt.Errorf("want at least %s", FormatDuration(v.min))
	}
	*v.p = d
	return nil
}
func (v durationValue) String() string               { return FormatDuration(*v.p) }
func (v durationValue) plain() any                   { return v.String() }
func (v durationValue) takes(k strictyaml.Kind) bool { return k == strictyaml.Text }
func (v durationValue) want() string {
	text := "a duration with its unit, such as 60s or 7d"
	if v.forever {
		text += ", or forever"
	}
	return text
}

// routesValue is set from a YAML sequence (see yaml.go), in the environment
// too: RUNNEL_ROUTES='[{type: "Audit*", topic: audit}]'.
type routesValue struct{ p *[]Route }

func (v routesValue) set(s string) error {
	routes, errs := parseRoutes(s)
	if len(errs) > 0 {
		return errs[0]
	}
	*v.p = routes
	return nil
}

func (v routesValue) String() string {
	if len(*v.p) == 0 {
		return "[]"
	}
	text, err := json.Marshal(*v.p)
	if err != nil { // strings always marshal
		return err.Error()
	}
	return string(text)
}

func (v routesValue) plain() any {
	if *v.p == nil {
		return []Route{}
	}
	return *v.p
}
func (v routesValue) takes(strictyaml.Kind) bool { return false }
func (v routesValue) want() string               { return "a list of {aggregate, type, topic}" }
