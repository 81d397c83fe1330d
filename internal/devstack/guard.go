package devstack

import (
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
)

// guardScript reads what to end and what to remove, one per line. "release"
// makes it go without a trace; the end of its input, which comes with the
// death of its parent in whatever way, makes it do its work.
//
//	kill SIGNAL PID START   (PID may be negative: a process group and its leader's start)
//	remove PATH             with everything in it
//	rmdir PATH              if it is empty by then
//
// Invariant: a kill is sent only while START still is the process's own.
const guardScript = `
kills= removes= rmdirs=
nl='
'
while IFS= read -r line; do
	case $line in
	release) exit 0 ;;
	'kill '*) kills=$kills${line#kill }$nl ;;
	'remove '*) removes=$removes${line#remove }$nl ;;
	'rmdir '*) rmdirs=$rmdirs${line#rmdir }$nl ;;
	esac
done
same() { # PID START
	IFS= read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
	want=$2
	set -- ${stat##*) }
	[ "$1" != Z ] && [ "${20}" = "$want" ]
}
each() { # SIGNAL, empty for each one's own
	alive=
	while read -r signal pid start; do
		[ -n "$pid" ] && same "${pid#-}" "$start" || continue
		kill -s "${1:-$signal}" -- "$pid" 2>/dev/null && alive=yes
	done <<EOF
$kills
EOF
}
each ''
n=0
while [ "$n" -lt 50 ]; do
	each 0
	[ -n "$alive" ] || break
	sleep 0.1
	n=$((n + 1))
done
each KILL
n=0
while [ "$n" -lt 10 ]; do
	left=
	while IFS= read -r path; do
		[ -n "$path" ] || continue
		rm -rf -- "$path" 2>/dev/null
		[ ! -e "$path" ] || left=yes
	done <<EOF
$removes
EOF
	[ -n "$left" ] || break
	sleep 0.2
	n=$((n + 1))
done
while IFS= read -r path; do
	[ -z "$path" ] || rmdir -- "$path" 2>/dev/null
done <<EOF
$rmdirs
EOF
`

// guard is a small shell process in a session of its own that ends the servers
// when this process dies without having done so, even by SIGKILL. Safe for
// concurrent use; a nil guard guards nothing.
type guard struct {
	cmd *exec.Cmd

	mu    sync.Mutex
	input io.WriteCloser // close-on-exec: only this process holds it; nil when released
}

func newGuard() (*guard, error) {
	cmd := exec.Command("/bin/sh", "-c", guardScript, "runnel-guard")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the guard: %w", err)
	}
	return &guard{cmd: cmd, input: input}, nil
}

// kill has p ended by sig (a name without SIG), then by KILL.
func (g *guard) kill(p process, sig string) error {
	return g.say("kill %s %d %d", sig, p.PID, p.Start)
}

// killGroup has the process group that p leads ended by TERM, then by KILL.
func (g *guard) killGroup(p process) error {
	return g.say("kill TERM -%d %d", p.PID, p.Start)
}

// remove has path removed with everything in it.
func (g *guard) remove(path string) error {
	if strings.ContainsRune(path, '\n') || !strings.HasPrefix(path, "/") {
		return fmt.Errorf("not a path to remove: %q", path)
	}
	return g.say("remove %s", path)
}

// rmdir has path removed if it is empty by then.
func (g *guard) rmdir(path string) error { return g.say("rmdir %s", path) }

// release ends the guard without its doing anything.
func (g *guard) release() error {
	if g == nil {
		return nil
	}
	err := g.say("release")
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.input == nil {
		return nil
	}
	_ = g.input.Close()
	g.input = nil
	_ = g.cmd.Wait()
	return err
}

func (g *guard) say(format string, args ...any) error {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.input == nil {
		return nil
	}
	if _, err := fmt.Fprintf(g.input, format+"\n", args...); err != nil {
		return fmt.Errorf("tell the guard: %w", err)
	}
	return nil
}
