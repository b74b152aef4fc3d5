// Command handler is the program of one function. The build puts the function's
// own package in the place of the sample that is imported here.
package main

import (
	"os"

	"parkstream/shared/faas"
	"parkstream/template/parkstream/function"
)

// name is set by the build.
var name = "function"

func main() { os.Exit(faas.Main(name, function.Wire, function.Handle)) }
