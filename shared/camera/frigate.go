package camera

import (
	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// frigate is a stub.
var frigate = Format{
	Name:      "frigate",
	Recognise: func(Request) bool { return false },
	Parse: func(Request, site.Camera) (Message, error) {
		return Message{}, parking.Invalid("the format frigate is not supported yet")
	},
}
