package camera

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// Export reads the rows of a table of plates that a camera, a recorder or a parking
// system has exported. Its columns are known by their names in several languages.
type Export struct {
	columns map[exportColumn]int
	order   DateOrder
	utc     bool // the name of the time's column tells that it is in UTC
}

// DateOrder is how the numbers of a date such as 07/08/2026 are meant.
type DateOrder string

// The orders of dates. Unordered refuses a date that can be read both ways.
const (
	Unordered  DateOrder = ""
	DayFirst   DateOrder = "dmy"
	MonthFirst DateOrder = "mdy"
)

type exportColumn string

const (
	exportPlate      exportColumn = "plate"
	exportTime       exportColumn = "time"
	exportDate       exportColumn = "date"
	exportClock      exportColumn = "clock"
	exportDirection  exportColumn = "direction"
	exportConfidence exportColumn = "confidence"
	exportCountry    exportColumn = "country"
	exportMake       exportColumn = "make"
	exportColor      exportColumn = "color"
)

// exportNames are the names of columns as [plainWord] returns them, the best first.
var exportNames = map[exportColumn][]string{
	exportPlate: {
		"plate", "licenseplate", "licenceplate", "licenseplatenumber", "licenceplatenumber", "platenumber", "plateno", "platetext", "plateread",
		"numberplate", "vehicleplate", "lp", "lpn", "lpr", "vrm", "vrn", "registration", "registrationnumber", "vehicleregistration",
		"kennzeichen", "kfzkennzeichen", "nummernschild", "plaque", "plaquedimmatriculation", "numeroplaque", "immatriculation",
		"matricula", "placa", "placas", "targa", "kenteken", "nummerplaat", "nrrejestracyjny", "numerrejestracyjny", "tablicarejestracyjna",
		"vehiclenumber", "vehicleno", "carnumber", "carno", "spz", "rz", "registracniznacka", "rendszam", "registreringsnummer", "registreringsskylt", "rekisterinumero", "plaka", "госномер", "номер",
	},
	exportTime: {
		"time", "datetime", "dateandtime", "dateortime", "datetimelocal", "timestamp", "timestamplocal", "capturetime", "captured", "capturedat", "eventtime",
		"readtime", "readat", "snaptime", "snapshottime", "passtime", "passingtime", "detectiontime", "detected", "detectedat", "recordtime", "occurredat",
		"zeitpunkt", "zeitstempel", "datumuhrzeit", "datumundzeit", "datumzeit", "erfassungszeit", "horodatage", "dateheure", "dateetheure",
		"fechahora", "fechayhora", "datahora", "dataora", "dataeora", "datumtijd", "tijdstip", "tijdstempel", "dataczas", "dataiczas", "datumcas", "datumacas",
		"датаивремя", "времясобытия",
	},
	exportDate:  {"date", "datum", "fecha", "data", "capturedate", "eventdate", "localdate", "дата"},
	exportClock: {"time", "clock", "timeofday", "localtime", "uhrzeit", "zeit", "heure", "hora", "ora", "tijd", "czas", "godzina", "cas", "tid", "время"},
	exportDirection: {
		"direction", "drivingdirection", "traveldirection", "directionoftravel", "vehicledirection", "movement", "inout", "entryexit", "entryorexit",
		"richtung", "fahrtrichtung", "einausfahrt", "sens", "sensdecirculation", "sentido", "direccion", "direcao", "direzione", "richting", "rijrichting",
		"kierunek", "smer", "направление",
	},
	exportConfidence: {
		"confidence", "confidencelevel", "confidencescore", "plateconfidence", "ocrconfidence", "ocrscore", "score", "reliability", "accuracy",
		"konfidenz", "erkennungssicherheit", "genauigkeit", "confiance", "fiabilite", "confianza", "confianca", "affidabilita", "betrouwbaarheid", "pewnosc",
	},
	exportCountry: {"country", "platecountry", "region", "countryregion", "land", "pays", "pais", "paese", "kraj", "zeme", "страна"},
	exportMake:    {"make", "vehiclemake", "brand", "vehiclebrand", "manufacturer", "marke", "hersteller", "marque", "marca", "merk", "marka", "znacka"},
	exportColor:   {"color", "colour", "vehiclecolor", "vehiclecolour", "farbe", "couleur", "colore", "kleur", "kolor", "barva"},
}

// exportFilling are words that the name of a column may have besides.
var exportFilling = []string{
	"no", "nr", "n", "num", "number", "nummer", "numero", "value", "text", "string", "of", "the", "de", "d", "del", "della", "di", "du", "da", "do", "der", "des", "la", "le",
	"vehicle", "car", "fahrzeug", "vehicule", //nolint:misspell // French
	"vehiculo", "veicolo", "kfz", "amtliches", "detected", "recognized", "recognised", "recognition", "detection",
	"capture", "captured", "captura", "erfassung", "aufnahme", "passage", "passing", "event", "local", "utc", "gmt",
}

// exportKinds are the words for a direction that need no configuration, as [plainWord]
// returns them.
var exportKinds = map[parking.Kind][]string{
	parking.Entry: {
		"entry", "in", "enter", "entering", "entered", "entrance", "inbound", "incoming", "ingress", "arrival", "einfahrt", "ein", "entree", "entrada",
		"entrata", "ingresso", "inrit", "wjazd", "vjezd", "въезд", "zufahrt", "einfahrend", "kommend", "entrant", "entrando", "entrante",
	},
	parking.Exit: {
		"exit", "out", "leave", "leaving", "outbound", "outgoing", "egress", "departure", "ausfahrt", "aus", "sortie", "salida", "saida",
		"uscita", "uitrit", "wyjazd", "vyjezd", "выезд", "abfahrt", "ausfahrend", "gehend", "sortant", "saliendo", "saliente",
	},
}

// plainKind returns the kind that a word is in a language, or 0.
func plainKind(word string) parking.Kind {
	for kind, words := range exportKinds {
		if slices.Contains(words, plainWord(word)) {
			return kind
		}
	}
	return 0
}

// NewExport returns a reader of rows by their first one, which names the columns.
func NewExport(names []string, order DateOrder) (*Export, error) {
	plain := make([]string, len(names))
	for i, name := range names {
		if !utf8.ValidString(name) {
			return nil, errNotUTF8
		}
		plain[i] = plainWord(name)
	}
	x := Export{columns: map[exportColumn]int{}, order: order}
	x.find(plain, exportPlate, exportTime, exportDate, exportClock, exportDirection, exportConfidence, exportCountry, exportMake, exportColor)
	short := make([]string, len(names))
	for i, name := range names {
		short[i] = shortName(name)
	}
	if !x.has(exportPlate) {
		x.find(short, exportPlate)
	}
	if !x.hasTime() {
		x.find(short, exportTime, exportDate, exportClock)
	}
	if !x.hasTime() { // either one may have both
		for _, column := range []exportColumn{exportDate, exportClock} {
			if i, has := x.columns[column]; has {
				x.columns[exportTime] = i
			}
		}
	}
	switch {
	case !x.has(exportPlate):
		return nil, parking.Invalid("no column is named plate, license plate, Kennzeichen, plaque, matrícula, targa or the like")
	case !x.hasTime():
		return nil, parking.Invalid("no column is named time, timestamp, Zeitpunkt, date/heure, fecha y hora or the like, and no two date and time")
	}
	for _, column := range []exportColumn{exportTime, exportClock} {
		if i, has := x.columns[column]; has {
			x.utc = slices.ContainsFunc(words(names[i]), func(w string) bool { return w == "utc" || w == "gmt" })
			break
		}
	}
	return &x, nil
}

// find looks for columns by their names.
func (x *Export) find(names []string, columns ...exportColumn) {
	for _, column := range columns {
		for _, known := range exportNames[column] {
			if i := slices.Index(names, known); i >= 0 {
				x.columns[column] = i
				break
			}
		}
	}
}

func (x *Export) has(column exportColumn) bool {
	_, has := x.columns[column]
	return has
}

func (x *Export) hasTime() bool {
	return x.has(exportTime) || x.has(exportDate) && x.has(exportClock)
}

// words returns the words of a text in lower case, without accents.
func words(text string) []string {
	return strings.FieldsFunc(strings.ToLower(withoutMarks(text)), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// withoutMarks returns a text without accents.
func withoutMarks(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, norm.NFKD.String(text))
}

// shortName returns the name of a column as [plainWord] does, without filling words.
func shortName(name string) string {
	return strings.Join(slices.DeleteFunc(words(name), func(w string) bool { return slices.Contains(exportFilling, w) }), "")
}

var errNotUTF8 = parking.Invalid("it is not valid UTF-8: save the file as UTF-8")

// plainWord returns the letters and digits of a text in lower case, without accents.
func plainWord(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, norm.NFD.String(text))
}

// Read returns what a row tells. Its error is a [parking.ErrInvalid].
func (x *Export) Read(row []string, c site.Camera, received time.Time) (Read, error) {
	cell := func(column exportColumn) string {
		i, has := x.columns[column]
		if !has || i >= len(row) {
			return ""
		}
		return strings.Join(strings.Fields(row[i]), " ") // also what only looks like a blank
	}
	for _, i := range x.columns {
		if i < len(row) && !utf8.ValidString(row[i]) {
			return Read{}, errNotUTF8
		}
	}
	at, err := x.time(cell, c, received)
	if err != nil {
		return Read{}, err
	}
	if at.Time.IsZero() {
		return Read{}, parking.Invalid("it has no time")
	}
	read := Read{
		Plate: Plate(cell(exportPlate)), Time: at.Time, AmbiguousTime: at.Ambiguous, Direction: direction(c, cell(exportDirection)),
		Country: told(cell(exportCountry)), Make: told(cell(exportMake)), Color: told(cell(exportColor)),
	}
	read.Kind = plainKind(read.Direction)
	if read.Plate != "" {
		read.Confidence = confidence(strings.Replace(cell(exportConfidence), ",", ".", 1), ofEither)
	}
	return read, nil
}

func (x *Export) time(cell func(exportColumn) string, c site.Camera, received time.Time) (clock, error) {
	text, date, clockText := cell(exportTime), cell(exportDate), cell(exportClock)
	// A column that is named time may have both, or only the time of day.
	if date != "" && (text == "" || clockOnly.MatchString(text)) {
		text = date + " " + firstOf(text, clockText)
	}
	if x.utc {
		c.Location = time.UTC
	}
	text, err := wholeDay(text)
	if err != nil {
		return clock{}, err
	}
	return x.parseTime(text, c, received)
}

// wholeDay returns a time that has a mark such as AM or PM as one of 24 hours.
func wholeDay(text string) (string, error) {
	m := halfDay.FindStringSubmatchIndex(text)
	if m == nil {
		return text, nil
	}
	const noon = 12
	hour, err := strconv.Atoi(text[m[2]:m[3]])
	if err != nil || hour < 1 || hour > noon {
		return "", parking.Invalid("%s is no hour", quote(text[m[2]:m[3]]))
	}
	hour %= noon
	if strings.EqualFold(text[m[6]:m[7]], "p") {
		hour += noon
	}
	return text[:m[2]] + twoDigits(strconv.Itoa(hour)) + text[m[4]:m[5]] + text[m[1]:], nil
}

var (
	clockOnly = regexp.MustCompile(`^\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[AaPp]\.? ?[Mm]\.?)?$`)
	halfDay   = regexp.MustCompile(`\b(\d{1,2})(:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?) ?([AaPp])\.? ?[Mm]\b\.?`)
	// A date in the order of day, month and year or of month, day and year, and a time.
	writtenDate = regexp.MustCompile(`^(\d{1,2})([./-])(\d{1,2})[./-](\d{4}|\d{2})(?:, ?|T| |,? (?:um|à|at|-) )(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?(?: Uhr)? ?(Z|UTC|[+-]\d{2}:?\d{2})?$`)
	// A year first, but numbers of one digit.
	writtenYear = regexp.MustCompile(`^(\d{4})[./-](\d{1,2})[./-](\d{1,2})[T ](\d{1,2}):(\d{2})(.*)$`)
	digitsOnly  = regexp.MustCompile(`^\d{14}(\d{3})?$`)
	numberOnly  = regexp.MustCompile(`^\d+([.,]\d+)?$`)
)

// exportLayouts are times with the name of a month.
var exportLayouts = []string{
	"2-Jan-2006 15:04:05", "2 Jan 2006 15:04:05", "2 January 2006 15:04:05", "Jan 2, 2006 15:04:05", "Jan 2, 2006, 15:04:05", "January 2, 2006 15:04:05", "January 2, 2006, 15:04:05",
	"Mon Jan 2 15:04:05 2006", time.RFC1123Z, time.RFC1123,
}

// A number is one of days from sheetEpoch on, as spreadsheets count them, from about 1954
// to 2119; or of seconds since 1970, from 1973 on, or of a smaller unit.
const (
	firstSheetDay = 20_000
	lastSheetDay  = 80_000
	firstSecond   = 100_000_000
)

var sheetEpoch = time.Date(1899, time.December, 30, 0, 0, 0, 0, time.UTC)

// parseTime reads the shapes of times that tables have. A local time is one of the
// camera's zone.
func (x *Export) parseTime(text string, c site.Camera, received time.Time) (clock, error) {
	switch {
	case digitsOnly.MatchString(text): // 20261123081530
		return readTime(text[:8]+"T"+text[8:], c.Location, received)
	case numberOnly.MatchString(text):
		const day = 24 * time.Hour
		number := strings.Replace(text, ",", ".", 1)
		switch size, err := strconv.ParseFloat(number, 64); {
		case err != nil || size < firstSheetDay || size > lastSheetDay && size < firstSecond:
			return clock{}, parking.Invalid("%s is no time", quote(text))
		case size <= lastSheetDay:
			return localTime(sheetEpoch.Add(time.Duration(size*float64(day)).Round(time.Millisecond)), c.Location, received), nil
		}
		return epoch(number, 0)
	}
	if m := writtenYear.FindStringSubmatch(text); m != nil {
		return readTime(m[1]+"-"+twoDigits(m[2])+"-"+twoDigits(m[3])+"T"+twoDigits(m[4])+":"+m[5]+m[6], c.Location, received)
	}
	if m := writtenDate.FindStringSubmatch(text); m != nil {
		iso, err := x.iso(m)
		if err != nil {
			return clock{}, err
		}
		return readTime(iso, c.Location, received)
	}
	if at, err := readTime(text, c.Location, received); err == nil {
		return at, nil
	}
	at, err := readTime(text, c.Location, received, exportLayouts...)
	if err != nil {
		return clock{}, parking.Invalid("%s is no time such as 2026-11-23 08:15:30 or 23.11.2026 08:15:30", quote(text))
	}
	return at, nil
}

// iso returns the time that matched writtenDate in the shape of ISO 8601.
func (x *Export) iso(m []string) (string, error) {
	first, between, second, year := m[1], m[2], m[3], m[4]
	order := x.order
	if between == "." {
		order = DayFirst
	}
	if order == Unordered {
		a, errA := strconv.Atoi(first)
		b, errB := strconv.Atoi(second)
		const months = 12
		switch {
		case errA != nil || errB != nil || a <= months && b <= months && a != b:
			return "", parking.Invalid("%s may begin with the day or with the month", quote(m[0]))
		case b > months:
			order = MonthFirst
		default:
			order = DayFirst
		}
	}
	day, month := first, second
	if order == MonthFirst {
		day, month = second, first
	}
	if len(year) == len("26") {
		year = "20" + year
	}
	iso := year + "-" + twoDigits(month) + "-" + twoDigits(day) + "T" + twoDigits(m[5]) + ":" + m[6]
	if m[7] != "" {
		iso += ":" + m[7]
	}
	if m[8] != "" {
		iso += "." + m[8]
	}
	return iso + m[9], nil
}

func twoDigits(number string) string {
	if len(number) == 1 {
		return "0" + number
	}
	return number
}
