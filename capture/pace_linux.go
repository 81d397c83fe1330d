package capture

import "syscall"

// setReceiveLowWater makes the socket readable, for those who wait, from n
// bytes on. It also makes the receive buffer large enough for that.
func setReceiveLowWater(fd uintptr, n int) error {
	return syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, n)
}
