package camera

import (
	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// openalpr is a stub.
var openalpr = Format{
	Name:      "openalpr",
	Recognise: func(Request) bool { return false },
	Parse: func(Request, site.Camera) (Message, error) {
		return Message{}, parking.Invalid("the format openalpr is not supported yet")
	},
}
