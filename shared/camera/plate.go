package camera

import (
	"strconv"
	"strings"

	"parkstream/shared/parking"
)

// noPlates are the texts by which cameras tell that they have read no plate, in the form
// of [parking.NormalizePlate].
var noPlates = map[string]bool{
	"UNKNOWN": true, "UNKNOWNPLATE": true, "UNRECOGNIZED": true, "UNRECOGNISED": true, "UNREADABLE": true, "UNIDENTIFIED": true,
	"NOPLATE": true, "NOPLATES": true, "NOPLATEFOUND": true, "NOPLATEREAD": true, "NOPLATEDETECTED": true,
	"NOLICENSE": true, "NOLICENSEPLATE": true, "NOLICENCEPLATE": true, "NOLICENCE": true, "NOLP": true, "NOLPR": true, "NONUMBER": true, "NONUMBERPLATE": true,
	"NOREAD": true, "NOTREAD": true, "NOTRECOGNIZED": true, "NOTRECOGNISED": true, "NOTDETECTED": true, "NOTFOUND": true, "NOTAVAILABLE": true,
	"PLATENOTFOUND": true, "PLATENOTREAD": true, "UNLICENSED": true, "UNLICENCED": true, "WITHOUTPLATE": true, "EMPTY": true,
	"NA": true, "NONE": true, "NIL": true, "NULL": true, "UNDEFINED": true,
	"无车牌": true, "無車牌": true, "无牌车": true, "无牌": true, "未识别": true, "未知": true, "车牌未识别": true,
}

// Plate returns a plate as a camera sent it without blanks around it, or "" if the text
// means that no plate was read: it has no letter or digit, or is a word for that, such as
// "unknown", "NO PLATE", or "n/a".
func Plate(text string) string {
	text = strings.TrimSpace(text)
	if key := parking.NormalizePlate(text); key == "" || noPlates[key] {
		return ""
	}
	return text
}

// Scales of confidence.
const (
	ofOne     = 1
	ofHundred = 100
	// ofEither is a scale of one up to 1, and of a hundred above.
	ofEither = 0
)

// confidence returns a number of a scale as a confidence from 0 to 1, or nil if the text
// is no number of the scale: cameras write "-" or -1 for an unknown one.
func confidence(text string, scale float64) *float64 {
	c, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "%")), 64)
	if err != nil {
		return nil
	}
	if scale == ofEither {
		scale = ofOne
		if c > 1 {
			scale = ofHundred
		}
	}
	c /= scale
	if !(c >= 0 && c <= 1) {
		return nil
	}
	return &c
}
