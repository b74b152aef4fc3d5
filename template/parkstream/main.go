// Command handler is the program of one function. The build replaces the sample that is
// imported here by the function's own package.
package main

import (
	"os"

	"parkstream/shared/faas"
	"parkstream/template/parkstream/function"
)

// name is set by the build.
var name = "function"

func main() { os.Exit(faas.Main(name, function.Wire, function.Handle)) }
