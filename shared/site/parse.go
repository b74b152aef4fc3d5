package site

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"

	"gopkg.in/yaml.v3"

	"parkstream/shared/parking"
)

// Bounds in bytes of the text of sites.
const (
	// MaxFile bounds a file.
	MaxFile = 2 << 20
	// MaxJSON bounds the JSON of [Marshal]. The hash of a token is longer than most tokens,
	// so that of a file may be longer than the file.
	MaxJSON = 4 << 20

	// maxText is what Parse reads at most: MaxJSON with a value a line.
	maxText = 4 * MaxJSON
)

// MaxMistakes bounds the mistakes that an error lists, and those that a caller shows.
const MaxMistakes = 100

// Mistake is one mistake in the configuration of sites.
type Mistake struct {
	// Path is where it is, such as sites[0].cameras[2].gate.
	Path string `json:"path"`
	// Line is the line of the file, 0 if it is unknown.
	Line int    `json:"line,omitzero"`
	Text string `json:"text"`
}

// Mistakes are all mistakes of a file, in its order. They are a [parking.ErrInvalid].
type Mistakes []Mistake //nolint:errname // a list that also is an error

func (m Mistakes) Error() string {
	var b strings.Builder
	for i, one := range m {
		if i == MaxMistakes {
			fmt.Fprintf(&b, "\nand %d more", len(m)-i)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		if one.Line > 0 {
			fmt.Fprintf(&b, "line %d: ", one.Line)
		} else if one.Path != "" {
			b.WriteString(one.Path + ": ")
		}
		b.WriteString(one.Text)
	}
	return b.String()
}

// Is makes mistakes a [parking.ErrInvalid].
func (m Mistakes) Is(target error) bool { return target == parking.ErrInvalid }

// orNil returns the mistakes as an error, nil if there are none.
func (m Mistakes) orNil() error {
	if len(m) == 0 {
		return nil
	}
	return m
}

// File is a file of sites without mistakes.
type File struct {
	Sites []Site
	lines map[string]int
}

// Locate returns mistakes with their lines in the file, in its order.
func (f *File) Locate(mistakes Mistakes) Mistakes {
	located := slices.Clone(mistakes)
	for i := range located {
		located[i].Line = lineOf(f.lines, located[i].Path)
	}
	slices.SortStableFunc(located, func(a, b Mistake) int { return a.Line - b.Line })
	return located
}

// lineOf returns the line of a path, or of the next part around it that the file has.
func lineOf(lines map[string]int, path string) int {
	for {
		if line, found := lines[path]; found {
			return line
		}
		end := strings.LastIndexAny(path, ".[")
		if end < 0 {
			return 1
		}
		path = path[:end]
	}
}

// Parse parses a file of sites in YAML, or in JSON, which YAML contains. Its error is
// [Mistakes] with every one. docs/sites.md describes the file.
func Parse(text []byte) (*File, error) {
	p := &parser{lines: make(map[string]int)}
	root := p.document(text)
	if root == nil {
		return nil, p.mistakes
	}
	var documents []document
	p.object(root, "", map[string]reader{"sites": p.list(func(n *yaml.Node, path string) {
		var d document
		p.site(n, path, &d)
		documents = append(documents, d)
	})})
	if _, found := p.lines["sites"]; !found && root.Kind == yaml.MappingNode {
		p.wrong("", "the file has no sites: want `sites:`, and a list of them")
	}
	f := &File{lines: p.lines}
	for i := range documents {
		f.Sites = append(f.Sites, p.check(&documents[i], fmt.Sprintf("sites[%d].", i)))
	}
	p.checkUnique(f.Sites)
	return f, p.sorted()
}

// ParseSite parses the configuration of one site, without the list around it. The text
// need not have its id.
func ParseSite(id string, text []byte) (Site, error) {
	p := &parser{lines: make(map[string]int)}
	root := p.document(text)
	if root == nil {
		return Site{}, p.mistakes
	}
	d := document{ID: id}
	p.site(root, "", &d)
	if d.ID != id {
		p.wrong("id", "id %s: this is the configuration of site %s", quote(d.ID), quote(id))
	}
	s := p.check(&d, "")
	return s, p.sorted()
}

// parser collects the mistakes of a file.
type parser struct {
	mistakes Mistakes
	lines    map[string]int // of paths
}

func (p *parser) wrong(path, format string, args ...any) {
	p.mistakes = append(p.mistakes, Mistake{path, lineOf(p.lines, path), fmt.Sprintf(format, args...)})
}

func (p *parser) wrongAt(line int, path, format string, args ...any) {
	p.mistakes = append(p.mistakes, Mistake{path, line, fmt.Sprintf(format, args...)})
}

func (p *parser) sorted() error {
	slices.SortStableFunc(p.mistakes, func(a, b Mistake) int { return a.Line - b.Line })
	return p.mistakes.orNil()
}

// document returns the content of the only document of a file, nil after a mistake.
func (p *parser) document(text []byte) *yaml.Node {
	if len(text) > maxText {
		p.wrong("", "the text has more than %d bytes", maxText)
		return nil
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	var node, more yaml.Node
	switch err := d.Decode(&node); {
	case errors.Is(err, io.EOF) || err == nil && len(node.Content) == 0:
		p.wrong("", "the file is empty")
		return nil
	case err != nil:
		p.syntax(text, err)
		return nil
	}
	switch err := d.Decode(&more); {
	case err == nil:
		p.wrongAt(max(more.Line, 1), "", "a second document begins here: a file has one")
		return nil
	case !errors.Is(err, io.EOF):
		p.syntax(text, err)
		return nil
	}
	return node.Content[0]
}

// syntax reports an error of the YAML parser, after which nothing else is read, and the
// lines that are indented with tabs, which is what most such errors come from.
func (p *parser) syntax(text []byte, err error) {
	n := 0
	for one := range bytes.Lines(text) {
		n++
		if indent := one[:len(one)-len(bytes.TrimLeft(one, " \t"))]; bytes.IndexByte(indent, '\t') >= 0 && len(bytes.TrimSpace(one)) > 0 {
			p.wrongAt(n, "", "the line is indented with a tab: YAML wants blanks")
		}
	}
	if len(p.mistakes) > 0 {
		return
	}
	reason := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, found := strings.CutPrefix(reason, "line "); found {
		if _, told, found := strings.Cut(rest, ": "); found {
			reason = told
		}
	}
	p.wrongAt(lineOfSyntax(text, err), "", "this is no YAML: %s", reason)
}

// lineOfSyntax returns the line that an error of the YAML parser comes from. The parser
// tells the one in which the block around it begins, if any. It is the last line of the
// shortest beginning of the text that has the same error.
func lineOfSyntax(text []byte, err error) int {
	lines := slices.Collect(bytes.Lines(text))
	return 1 + sort.Search(len(lines)-1, func(i int) bool {
		d := yaml.NewDecoder(bytes.NewReader(bytes.Join(lines[:i+1], nil)))
		for {
			var node yaml.Node
			if same := d.Decode(&node); same != nil {
				return same.Error() == err.Error()
			}
		}
	})
}

// reader reads a value.
type reader func(n *yaml.Node, path string)

// object reads a mapping with known keys.
func (p *parser) object(n *yaml.Node, path string, fields map[string]reader) {
	if !p.is(n, yaml.MappingNode, path, "keys with values") {
		return
	}
	prefix := path
	if prefix != "" {
		prefix += "."
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		read, known := fields[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || !known:
			p.wrongAt(key.Line, prefix+key.Value, "unknown key %s: want %s", quote(key.Value), strings.Join(sortedKeys(fields), ", "))
			continue
		case seen[key.Value]:
			p.wrongAt(key.Line, prefix+key.Value, "%s is there already", key.Value)
			continue
		}
		seen[key.Value] = true
		p.lines[prefix+key.Value] = key.Line
		if value.Kind == yaml.ScalarNode && value.Tag == "!!null" {
			continue // as if the key was not there
		}
		read(value, prefix+key.Value)
	}
}

func sortedKeys(fields map[string]reader) []string {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// list returns the reader of a list whose elements have a reader.
func (p *parser) list(element reader) reader {
	return func(n *yaml.Node, path string) {
		if !p.is(n, yaml.SequenceNode, path, "a list") {
			return
		}
		for i, one := range n.Content {
			of := fmt.Sprintf("%s[%d]", path, i)
			p.lines[of] = one.Line
			element(one, of)
		}
	}
}

// text returns the reader of a text, as it is in the file: 007 stays 007.
func (p *parser) text(to *string) reader {
	return func(n *yaml.Node, path string) {
		if p.is(n, yaml.ScalarNode, path, "a text") {
			*to = n.Value
		}
	}
}

// is reports whether a value is of a kind.
func (p *parser) is(n *yaml.Node, kind yaml.Kind, path, want string) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		p.wrongAt(n.Line, path, "*%s: aliases are not known here, write it out", n.Value)
	case n.Style&yaml.TaggedStyle != 0:
		p.wrongAt(n.Line, path, "%s: tags are not known here", quote(n.Tag))
	case n.Kind != kind:
		p.wrongAt(n.Line, path, "want %s here", want)
	default:
		return true
	}
	return false
}

// site reads one site.
func (p *parser) site(n *yaml.Node, path string, d *document) {
	p.object(n, path, map[string]reader{
		"id": p.text(&d.ID), "name": p.text(&d.Name), "zone": p.text(&d.Zone), "capacity": p.text((*string)(&d.Capacity)),
		"repeat": p.text(&d.Repeat), "longest_stay": p.text(&d.LongestStay), "image_retention": p.text(&d.ImageRetention), "occupancy_when_silent": p.text(&d.WhenSilent),
		"settle": p.text(&d.Settle), "policy": p.policy(&d.Policy),
		"gates": p.list(func(n *yaml.Node, path string) {
			var g gateDocument
			p.object(n, path, map[string]reader{"id": p.text(&g.ID), "name": p.text(&g.Name)})
			d.Gates = append(d.Gates, g)
		}),
		"cameras": p.list(func(n *yaml.Node, path string) {
			var k cameraDocument
			p.object(n, path, map[string]reader{
				"id": p.text(&k.ID), "gate": p.text(&k.Gate), "role": p.text(&k.Role), "format": p.text(&k.Format),
				"zone": p.text(&k.Zone), "token": p.text(&k.Token), "directions": p.directions(&k.Directions),
			})
			d.Cameras = append(d.Cameras, k)
		}),
	})
}

// policy returns the reader of the billings of methods.
func (p *parser) policy(to *policyDocument) reader {
	return func(n *yaml.Node, path string) {
		*to = make(policyDocument)
		fields := make(map[string]reader)
		for _, key := range policyKeys() {
			fields[key] = func(n *yaml.Node, path string) {
				var billing string
				p.text(&billing)(n, path)
				(*to)[key] = billing
			}
		}
		p.object(n, path, fields)
	}
}

// directions returns the reader of a mapping with any keys.
func (p *parser) directions(to *map[string]string) reader {
	return func(n *yaml.Node, path string) {
		if !p.is(n, yaml.MappingNode, path, "directions, such as {approaching: entry, leaving: exit},") {
			return
		}
		*to = make(map[string]string)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, kind := n.Content[i], ""
			if !p.is(key, yaml.ScalarNode, path, "a text") {
				continue
			}
			if _, twice := (*to)[key.Value]; twice {
				p.wrongAt(key.Line, path, "direction %s is there already", quote(key.Value))
			}
			p.text(&kind)(n.Content[i+1], path)
			(*to)[key.Value] = kind
		}
	}
}

// check returns the site of a document and reports the mistakes in its values.
func (p *parser) check(d *document, prefix string) Site {
	return d.site(func(path, format string, args ...any) { p.wrong(prefix+path, format, args...) })
}

// checkUnique reports sites and cameras that are at several places of the file.
func (p *parser) checkUnique(sites []Site) {
	siteAt, cameraAt := make(map[string]int), make(map[string]int)
	for i := range sites {
		s := &sites[i]
		if first, twice := siteAt[s.ID]; twice && s.ID != "" {
			p.wrong(fmt.Sprintf("sites[%d].id", i), "site %s is there already, in line %d", quote(s.ID), lineOf(p.lines, fmt.Sprintf("sites[%d].id", first)))
			continue // its cameras are not at two sites
		}
		siteAt[s.ID] = i
		for j := range s.Cameras {
			id := s.Cameras[j].ID
			if first, twice := cameraAt[id]; twice && first != i && id != "" {
				p.wrong(fmt.Sprintf("sites[%d].cameras[%d].id", i, j), "camera %s is at site %s already: the ids of cameras are unique among all sites", quote(id), quote(sites[first].ID))
			}
			cameraAt[id] = i
		}
	}
}

// Marshal returns sites as JSON that Parse reads. The tokens are the hashes of the
// cameras, and left out if there are none.
func Marshal(sites []Site) []byte {
	file := struct {
		Sites []document `json:"sites"`
	}{[]document{}}
	for i := range sites {
		file.Sites = append(file.Sites, documentOf(&sites[i]))
	}
	text, _ := json.Marshal(file) // it has strings and numbers
	return text
}

// MarshalJSON returns a site as the API shows it, without tokens.
func (s Site) MarshalJSON() ([]byte, error) { return json.Marshal(s.public()) }

func (s *Site) public() document {
	d := documentOf(s)
	for i := range d.Cameras {
		d.Cameras[i].Token = ""
	}
	return d
}
