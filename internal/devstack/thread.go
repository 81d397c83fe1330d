package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// heldThread is a thread of another process that stands still, while those beside it go
// on: a disk that does not answer stops whoever writes to it, and nobody else.
type heldThread struct {
	release chan struct{}
	done    chan error
}

// holdThread stops the thread of a process whose name, of which the kernel keeps 15
// bytes, begins so. Processes that this one started may be held so, without rights.
func holdThread(pid int, name string) (*heldThread, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	tid := 0
	var err error
	_ = poll(ctx, 10*time.Millisecond, func() bool { // it may not have begun
		tid, err = threadOf(pid, name)
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	h := &heldThread{release: make(chan struct{}), done: make(chan error, 1)}
	held := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // only who attached may let go
		defer runtime.UnlockOSThread()
		if err := attach(pid, tid); err != nil {
			held <- err
			return
		}
		held <- nil
		<-h.release
		err := syscall.PtraceDetach(tid)
		if errors.Is(err, syscall.ESRCH) { // killed meanwhile
			err = nil
		}
		h.done <- err
	}()
	if err := <-held; err != nil {
		return nil, fmt.Errorf("hold %s of process %d: %w", name, pid, err)
	}
	return h, nil
}

// attach stops a thread where it waits for another: elsewhere it might be what all of a
// Java process waits for, to collect its garbage.
func attach(pid, tid int) error {
	for range 1000 {
		if err := syscall.PtraceAttach(tid); err != nil {
			return err
		}
		var status syscall.WaitStatus
		_, err := syscall.Wait4(tid, &status, syscall.WALL, nil)
		for errors.Is(err, syscall.EINTR) {
			_, err = syscall.Wait4(tid, &status, syscall.WALL, nil)
		}
		if err != nil {
			return err
		}
		call, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/syscall", pid, tid))
		if err != nil {
			return errors.Join(err, syscall.PtraceDetach(tid))
		}
		if strings.HasPrefix(string(call), strconv.Itoa(syscall.SYS_FUTEX)+" ") {
			return nil
		}
		if err := syscall.PtraceDetach(tid); err != nil {
			return err
		}
	}
	return errors.New("it never waits")
}

// letGo lets the thread go on.
func (h *heldThread) letGo() error {
	close(h.release)
	return <-h.done
}

// threadOf returns the id of the thread of a process whose name begins so.
func threadOf(pid int, name string) (int, error) {
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/comm", pid))
	if err != nil {
		return 0, err
	}
	for _, path := range names {
		if text, err := os.ReadFile(path); err == nil && strings.HasPrefix(string(text), name) {
			return strconv.Atoi(filepath.Base(filepath.Dir(path)))
		}
	}
	return 0, fmt.Errorf("process %d has no thread %s", pid, name)
}
