package simulate

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"parkstream/shared/parking"
)

// Composition is how many characters of a misread plate are wrong, as shares that add up
// to 1.
type Composition struct {
	One  float64
	Two  float64
	More float64 // three or more, or half of the plate is missing
}

// Compositions by name. Harsh is what was counted of a real camera.
var compositions = map[string]Composition{
	"base":  {0.60, 0.18, 0.22},
	"mild":  {0.75, 0.15, 0.10},
	"harsh": {0.33, 0.17, 0.50},
}

// Shares of errors, and of the substitutions those by a character that looks alike.
const (
	substitutions = 0.85
	missing       = 0.08 // the rest are characters too many
	alike         = 0.75
)

// lookalikes are the characters that each one is read as.
var lookalikes = map[byte]string{
	'0': "ODQ8C", '1': "I7LTJ", '2': "Z7", '3': "8B5", '4': "A90", '5': "S63", '6': "G85", '7': "1TZ2", '8': "B36S0", '9': "4830",
	'A': "4RHM", 'B': "8R3PE", 'C': "G0OQ", 'D': "0OQ", 'E': "FB", 'F': "EPT", 'G': "6COQ", 'H': "MNKWA", 'I': "1LTJ", 'J': "1IU3",
	'K': "XHRM", 'L': "1IE", 'M': "NHWK", 'N': "MHW", 'O': "0DQC", 'P': "FRB", 'Q': "O0DG", 'R': "KPBA", 'S': "58B", 'T': "71YI",
	'U': "VJ0", 'V': "UYW", 'W': "VMN", 'X': "KYV", 'Y': "VTX", 'Z': "27S",
}

// confusions is the confusion matrix of one camera: for each character the others that it
// is read as, with cumulated weights.
type confusions map[byte]*struct {
	to      string
	weights []float64
}

// newConfusions draws a matrix: cameras confuse the same characters, each some of them more
// often. Of a camera that knows the syntax of plates no letter becomes a digit.
func newConfusions(syntax bool, random *rand.Rand) confusions {
	c := make(confusions, len(lookalikes))
	for i := range len(digits + alphabet) {
		from := (digits + alphabet)[i]
		row := new(struct {
			to      string
			weights []float64
		})
		sum := 0.0
		for j := range len(lookalikes[from]) {
			to := lookalikes[from][j]
			weight := math.Exp(0.8*random.NormFloat64()) / float64(1+j)
			if syntax && isDigit(from) != isDigit(to) {
				continue
			}
			sum += weight
			row.to += string(to)
			row.weights = append(row.weights, sum)
		}
		c[from] = row
	}
	return c
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// reader misreads plates as one camera does.
type reader struct {
	Composition
	syntax     bool
	confusions confusions
}

// misread returns another text than the plate.
func (r *reader) misread(plate string, random *rand.Rand) string {
	for {
		text := r.spoil(plate, random)
		if text != plate && text != "" {
			return text
		}
	}
}

func (r *reader) spoil(plate string, random *rand.Rand) string {
	errors := 1
	switch at := random.Float64(); {
	case at < r.One:
	case at < r.One+r.Two:
		errors = 2
	case random.IntN(2) == 0:
		if random.IntN(2) == 0 {
			return plate[:(len(plate)+1)/2]
		}
		return plate[len(plate)/2:]
	default:
		errors = 3 + random.IntN(2)
	}
	text := []byte(plate)
	places := random.Perm(len(plate))[:min(errors, len(plate))]
	slices.Sort(places)
	for _, i := range slices.Backward(places) { // from the right: places to the left stay
		switch at := random.Float64(); {
		case at < substitutions:
			text[i] = r.substitute(plate[i], random)
		case at < substitutions+missing:
			text = slices.Delete(text, i, i+1)
		default:
			text = slices.Insert(text, i, r.substitute(plate[i], random))
		}
	}
	return string(text)
}

// substitute returns another character than c.
func (r *reader) substitute(c byte, random *rand.Rand) byte {
	if row := r.confusions[c]; row != nil && len(row.to) > 0 && random.Float64() < alike {
		at := random.Float64() * row.weights[len(row.weights)-1]
		i, _ := slices.BinarySearch(row.weights, at)
		return row.to[i]
	}
	others := digits + withoutIO
	if r.syntax {
		others = withoutIO
		if isDigit(c) {
			others = digits
		}
	}
	for {
		if other := others[random.IntN(len(others))]; other != c {
			return other
		}
	}
}

// Of the lists of candidates that cameras send with a misread plate some have the true one,
// if at most two characters are wrong.
const truthListed = 0.70

// candidates returns the camera's list of readings of a plate: the text that it sends
// first, then others, with falling confidence.
func (r *reader) candidates(text, plate string, confidence float64, random *rand.Rand) []parking.Candidate {
	list := []string{text}
	if text != plate && distance(text, plate) <= 2 && random.Float64() < truthListed {
		list = append(list, plate)
	}
	for range 1 + random.IntN(2) {
		i := random.IntN(len(text))
		other := text[:i] + string(r.substitute(text[i], random)) + text[i+1:]
		if !slices.Contains(list, other) && other != plate {
			list = slices.Insert(list, 1+random.IntN(len(list)), other)
		}
	}
	result := make([]parking.Candidate, len(list))
	for i, plate := range list {
		c := round(confidence)
		result[i] = parking.Candidate{Plate: plate, Confidence: &c}
		confidence *= 0.6 + 0.35*random.Float64()
	}
	return result
}

// confidence draws a camera's confidence.
func confidence(right bool, random *rand.Rand) float64 {
	mean, deviation := 0.68, 0.14
	if right {
		mean, deviation = 0.92, 0.06
	}
	return round(min(max(mean+deviation*random.NormFloat64(), 0.05), 0.99))
}

// round leaves the two digits that all formats can express.
func round(confidence float64) float64 { return math.Round(confidence*100) / 100 }

// distance returns how many characters have to be replaced, inserted or removed to make
// one text of the other.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// Makes and colours of vehicles, the frequent ones first: their 60 pairs follow Zipf's law.
var (
	makes  = strings.Fields("Volkswagen Toyota Ford BMW Renault Mercedes-Benz Audi Skoda Hyundai Opel Fiat Volvo")
	colors = strings.Fields("black white gray blue red")
)

// appearance is a pair of make and colour.
type appearance int

const appearances = 60

func (a appearance) make() string  { return makes[int(a)/len(colors)] }
func (a appearance) color() string { return colors[int(a)%len(colors)] }

// zipf has the cumulated weights of appearances.
var zipf = func() (weights []float64) {
	sum := 0.0
	for i := range appearances {
		sum += 1 / float64(i+1)
		weights = append(weights, sum)
	}
	return weights
}()

func drawAppearance(random *rand.Rand) appearance {
	i, _ := slices.BinarySearch(zipf, random.Float64()*zipf[len(zipf)-1])
	return appearance(i)
}
