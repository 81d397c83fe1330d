package devstack

import (
	"fmt"
	"io"
	"os/exec"
	"strings"
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
