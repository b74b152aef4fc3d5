package instance

// Prometheus finds the program. An error that is [ErrNotInstalled] says what to
// install.
func Prometheus() (string, error) { return lookup("prometheus") }

// Promtool finds the program that checks Prometheus's files; it comes with it.
func Promtool() (string, error) { return lookup("promtool") }

// PrometheusInstalled says whether both programs are there.
func PrometheusInstalled() bool {
	_, err1 := Prometheus()
	_, err2 := Promtool()
	return err1 == nil && err2 == nil
}
