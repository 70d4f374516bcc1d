package scenario

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// What a file may ask of its reader. Files that people write stay far below; a file that goes beyond is refused before
// it can take memory or time.
const (
	MaxBytes  = 1 << 18
	MaxValues = 50_000 // after aliases are written out
	MaxDepth  = 64
)

// Document reads one YAML document into a Value. The first line of data is line firstLine of the file: a document that
// stands inside another file keeps its places. Mappings keep their order; a key written twice, a key that is no plain
// word, a merge key, a tag of one's own, a second document and nothing at all are mistakes. Aliases are written out,
// within MaxValues. The error is of type Errors. With mistakes that leave the rest readable (a key written twice, a tag)
// the value is given too, without what is wrong; else it is nil.
func Document(file string, firstLine int, data []byte) (*Value, error) {
	d := &document{file: file, offset: firstLine - 1, open: map[*yaml.Node]bool{}}
	root := d.parse(data)
	if root == nil {
		return nil, d.errs.Err()
	}
	v := d.value(root, 0)
	if d.lost {
		return nil, d.errs.Err()
	}
	return &v, d.errs.Err()
}

// document is one reading of a file.
type document struct {
	file   string
	offset int // lines of the file before the document's first
	values int
	open   map[*yaml.Node]bool // anchors being written out: one of them again is a circle
	errs   Errors
	lost   bool // what was read is not what was written
}

// parse gives the document's root, nil where there is none to go on with.
func (d *document) parse(data []byte) *yaml.Node {
	if len(data) > MaxBytes {
		d.errs.Addf(d.at(1, 1), "the file has %d bytes: at most %d are read", len(data), MaxBytes)
		return nil
	}
	if line, column, ok := badUTF8(data); ok {
		d.errs.Addf(d.at(line, column), "not UTF-8 text: save the file as UTF-8")
		return nil
	}
	data = hideComparisons(data)
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var first, second yaml.Node
	err := decoder.Decode(&first)
	if errors.Is(err, io.EOF) || err == nil && empty(&first) {
		d.errs.Addf(d.at(1, 1), "the file is empty")
		return nil
	}
	if err == nil {
		err = decoder.Decode(&second)
		if err == nil {
			d.errs.Addf(d.at(second.Line, second.Column), "a second document: one file holds one")
			return nil
		}
	}
	if !errors.Is(err, io.EOF) {
		line, column := locate(data, err)
		d.errs.Addf(d.at(line, column), "not valid YAML: %s", problem(err))
		return nil
	}
	return first.Content[0]
}

func (d *document) at(line, column int) Pos {
	return Pos{File: d.file, Line: max(line, 1) + d.offset, Column: max(column, 1)}
}

func empty(n *yaml.Node) bool {
	return len(n.Content) == 0 || n.Content[0].Kind == yaml.ScalarNode && n.Content[0].ShortTag() == "!!null"
}

// value turns a node into a Value. What is wrong with it is noted; the value is then of no use, but reading goes on.
func (d *document) value(n *yaml.Node, depth int) Value {
	at := d.at(n.Line, n.Column)
	v := Value{Pos: at}
	d.values++
	switch {
	case d.values == MaxValues+1:
		d.errs.Addf(at, "more than %d values once aliases are written out", MaxValues)
		d.lost = true
		return v
	case d.values > MaxValues:
		return v
	case depth > MaxDepth:
		d.errs.Addf(at, "nested deeper than %d", MaxDepth)
		d.lost = true
		return v
	}
	switch n.Kind {
	case yaml.AliasNode:
		return d.alias(n, depth)
	case yaml.SequenceNode:
		d.tag(n, "!!seq")
		v.List = make([]Value, 0, len(n.Content))
		for _, c := range n.Content {
			v.List = append(v.List, d.value(c, depth+1))
		}
	case yaml.MappingNode:
		d.tag(n, "!!map")
		v.Map = d.mapping(n, depth)
	case yaml.ScalarNode:
		d.tag(n, "!!str", "!!int", "!!float", "!!bool", "!!null", "!!timestamp")
		if v.Tag = n.ShortTag(); v.Tag != "!!null" {
			text := showComparisons(n.Value)
			v.Scalar = &text
		}
	}
	return v
}

func (d *document) alias(n *yaml.Node, depth int) Value {
	if d.open[n.Alias] {
		d.errs.Addf(d.at(n.Line, n.Column), "*%s stands inside of what it repeats", n.Value)
		d.lost = true
		return Value{Pos: d.at(n.Line, n.Column)}
	}
	d.open[n.Alias] = true
	defer delete(d.open, n.Alias)
	return d.value(n.Alias, depth+1)
}

func (d *document) mapping(n *yaml.Node, depth int) []Entry {
	entries := make([]Entry, 0, len(n.Content)/2)
	lines := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		at := d.at(key.Line, key.Column)
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		first, twice := lines[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode:
			d.errs.Addf(at, "a key must be a plain word")
			continue
		case key.ShortTag() == "!!merge":
			d.errs.Addf(at, "merge keys (<<) are not part of the language: write the keys out")
			continue
		case twice:
			d.errs.Addf(at, "key %q is written twice: first in line %d", key.Value, first)
			continue
		}
		lines[key.Value] = at.Line
		entries = append(entries, Entry{Key: key.Value, Pos: at, Value: d.value(n.Content[i+1], depth+1)})
	}
	return entries
}

// tag refuses tags that are not YAML's own for the kind of node.
func (d *document) tag(n *yaml.Node, known ...string) {
	for _, k := range known {
		if n.ShortTag() == k {
			return
		}
	}
	d.errs.Addf(d.at(n.Line, n.Column), "tag %s has no meaning here: leave it out", n.ShortTag())
}

// badUTF8 finds the first byte that is no UTF-8.
func badUTF8(data []byte) (line, column int, bad bool) {
	line, column = 1, 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && size == 1:
			return line, column, true
		case r == '\n':
			line, column = line+1, 0
		}
		column++
		data = data[size:]
	}
	return 0, 0, false
}

// locate finds the place of a syntax error. The library tells the line on which the construct began that it could not
// finish, and its column never, so the first line is searched for up to which the text fails with the same error.
func locate(data []byte, want error) (line, column int) {
	lines := bytes.SplitAfter(data, []byte("\n"))
	low, high := 1, len(lines)
	for low < high {
		middle := (low + high) / 2
		if fails(bytes.Join(lines[:middle], nil), want) {
			high = middle
		} else {
			low = middle + 1
		}
	}
	text := lines[low-1]
	return low, 1 + len(text) - len(bytes.TrimLeft(text, " "))
}

// fails says whether reading all documents of data ends in the same error.
func fails(data []byte, want error) bool {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var n yaml.Node
		switch err := decoder.Decode(&n); {
		case errors.Is(err, io.EOF):
			return false
		case err != nil:
			return err.Error() == want.Error()
		}
	}
}

// problem gives the library's words without its name and its line, which is not where the error shows.
func problem(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if _, after, ok := strings.Cut(rest, ": "); ok {
			text = after
		}
	}
	return text
}
