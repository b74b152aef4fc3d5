package instance

// Prometheus returns the path of the program. An error that wraps [ErrNotInstalled]
// names what to install.
func Prometheus() (string, error) { return lookup("prometheus") }

// Promtool returns the path of the program that checks the files of Prometheus.
func Promtool() (string, error) { return lookup("promtool") }

// PrometheusInstalled reports whether both programs are installed.
func PrometheusInstalled() bool {
	_, err1 := Prometheus()
	_, err2 := Promtool()
	return err1 == nil && err2 == nil
}
