package camera

import (
	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// verkada is a stub.
var verkada = Format{
	Name:      "verkada",
	Recognise: func(Request) bool { return false },
	Parse: func(Request, site.Camera) (Message, error) {
		return Message{}, parking.Invalid("the format verkada is not supported yet")
	},
}
