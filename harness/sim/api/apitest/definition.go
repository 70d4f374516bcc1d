// Package apitest holds exchanges with the carrier's API against the carrier's own definition of it, for tests of both
// ends: of the simulated carrier, which answers, and of the client, which asks.
package apitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

// Definition is the carrier's OpenAPI definition. Schemas are read strictly: where the definition lists the properties
// of an object, others are mistakes.
type Definition struct {
	paths    map[string]map[string]operation
	compiler *jsonschema.Compiler

	mu      sync.Mutex
	schemas map[string]*jsonschema.Schema
}

type operation struct {
	Parameters []struct {
		Name     string
		In       string
		Required bool
		Schema   struct {
			Type string
			Enum []string
		}
	}
	RequestBody *struct {
		Required bool
		Content  map[string]any
	} `yaml:"requestBody"`
	Responses map[string]struct{ Content map[string]any }
	Security  []map[string]any
}

var load = sync.OnceValues(func() (*Definition, error) {
	dir, err := shared()
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(dir, "soracom-api.en.yaml"))
	if err != nil {
		return nil, err
	}
	return parse(data)
})

// Load gives the definition, read once for all tests of a process. The test is skipped where it is not to be had: it is
// not part of the project.
func Load(t testing.TB) *Definition {
	t.Helper()
	d, err := load()
	if os.IsNotExist(err) {
		t.Skip("the carrier's API definition is not here: ", err)
	}
	if err != nil {
		t.Fatal("read the carrier's API definition: ", err)
	}
	return d
}

// shared is the folder of what is shared beside the project: $TOLLGATE_SHARED, or ../shared beside the module.
func shared() (string, error) {
	if dir := os.Getenv("TOLLGATE_SHARED"); dir != "" {
		return dir, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir != filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "..", "shared"), nil
		}
		dir = filepath.Dir(dir)
	}
	return "", os.ErrNotExist
}

// resource is the name under which the schema compiler knows the definition.
const resource = "file:///definition.json"

func parse(data []byte) (*Definition, error) {
	var whole struct {
		Paths map[string]map[string]operation
	}
	if err := yaml.Unmarshal(data, &whole); err != nil {
		return nil, err
	}
	var doc any
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	strict(doc)
	asJSON, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	if doc, err = jsonschema.UnmarshalJSON(bytes.NewReader(asJSON)); err != nil {
		return nil, err
	}
	d := &Definition{paths: whole.Paths, compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	d.compiler.DefaultDraft(jsonschema.Draft4) // what OpenAPI 3.0 schemas are nearest to
	return d, d.compiler.AddResource(resource, doc)
}

// strict forbids, in every object schema that lists its properties, all others.
func strict(node any) {
	switch n := node.(type) {
	case map[string]any:
		_, listed := n["properties"].(map[string]any)
		if _, open := n["additionalProperties"]; listed && !open && n["type"] == "object" {
			n["additionalProperties"] = false
		}
		for _, v := range n {
			strict(v)
		}
	case []any:
		for _, v := range n {
			strict(v)
		}
	}
}

// Has says whether the definition has an operation: "POST", "/sims/{sim_id}/activate".
func (d *Definition) Has(method, template string) bool {
	_, ok := d.paths[template][strings.ToLower(method)]
	return ok
}

// find gives the operation of a call, and its template. Literal parts of a path go before variable ones.
func (d *Definition) find(method, path string) (operation, string, bool) {
	best, literals := "", -1
	for template := range d.paths {
		if n, ok := fits(template, path); ok && n > literals {
			best, literals = template, n
		}
	}
	o, ok := d.paths[best][strings.ToLower(method)]
	return o, best, ok
}

func fits(template, path string) (literals int, ok bool) {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return 0, false
	}
	for i := range want {
		switch {
		case want[i] == got[i]:
			literals++
		case !strings.HasPrefix(want[i], "{") || got[i] == "":
			return 0, false
		}
	}
	return literals, true
}

// undeclared are the statuses that the service answers with although the definition doesn't name them for each call.
var undeclared = map[int]string{
	400: "a call that makes no sense, SEM0016 among them: shown in the text of delete_session, with no status of its own",
	401: "no token, or one that has expired: the definition's security, without a response",
	404: "no such SIM: named for most of a SIM's calls, not for its events, stats and ping",
	429: "rate limits, described outside the definition",
	500: "the service is broken", 502: "a load balancer before it is", 503: "the same", 504: "the same",
}

// Check holds one exchange against the definition and gives everything that is wrong with it. Path is without /v1.
func (d *Definition) Check(r *http.Request, path string, requestBody []byte, status int, header http.Header, answer []byte) []error {
	o, template, ok := d.find(r.Method, path)
	if !ok {
		if status == http.StatusNotFound {
			return nil
		}
		return []error{fmt.Errorf("the definition has no %s %s", r.Method, path)}
	}
	at := "/paths/" + pointer(template) + "/" + strings.ToLower(r.Method)
	errs := d.checkRequest(o, at, r, requestBody)
	if status >= 400 {
		errs = nil // refused: the request may be as wrong as a test wants it
	}
	declared, ok := o.Responses[strconv.Itoa(status)]
	switch {
	case !ok && undeclared[status] == "":
		errs = append(errs, fmt.Errorf("the definition declares no status %d for it", status))
	case ok && declared.Content != nil && status < 500:
		if !strings.HasPrefix(header.Get("Content-Type"), "application/json") {
			errs = append(errs, fmt.Errorf("content type %q", header.Get("Content-Type")))
		}
		where := fmt.Sprintf("%s/responses/%d/content/application~1json/schema", at, status)
		errs = append(errs, d.validate(where, answer)...)
	case ok && status < 300 && len(answer) > 0:
		errs = append(errs, fmt.Errorf("the definition declares no body for %d, there is %q", status, answer))
	}
	return errs
}

func (d *Definition) checkRequest(o operation, at string, r *http.Request, body []byte) []error {
	errs := checkQuery(o, r.URL.Query())
	if len(o.Security) > 0 && (r.Header.Get("X-Soracom-API-Key") == "" || r.Header.Get("X-Soracom-Token") == "") {
		errs = append(errs, fmt.Errorf("no API key or no token"))
	}
	switch {
	case o.RequestBody == nil && len(body) > 0:
		errs = append(errs, fmt.Errorf("the definition has no request body, there is %q", body))
	case o.RequestBody != nil && o.RequestBody.Required && len(body) == 0:
		errs = append(errs, fmt.Errorf("the request's body is missing"))
	case o.RequestBody != nil && len(body) > 0:
		errs = append(errs, d.validate(at+"/requestBody/content/application~1json/schema", body)...)
	}
	return errs
}

func checkQuery(o operation, query url.Values) []error {
	var errs []error
	left := maps.Clone(query)
	for _, p := range o.Parameters {
		if p.In != "query" {
			continue
		}
		values, given := query[p.Name]
		delete(left, p.Name)
		if p.Required && !given {
			errs = append(errs, fmt.Errorf("query %s is required", p.Name))
		}
		for _, v := range values {
			if _, err := strconv.ParseInt(v, 10, 64); p.Schema.Type == "integer" && err != nil {
				errs = append(errs, fmt.Errorf("query %s: %q is no integer", p.Name, v))
			}
			if len(p.Schema.Enum) > 0 && !slices.Contains(p.Schema.Enum, v) {
				errs = append(errs, fmt.Errorf("query %s: %q is none of %q", p.Name, v, p.Schema.Enum))
			}
		}
	}
	for name := range left {
		errs = append(errs, fmt.Errorf("the definition has no query %s", name))
	}
	return errs
}

// validate holds a JSON text against a schema of the definition, given by its JSON pointer (RFC 6901).
func (d *Definition) validate(at string, text []byte) []error {
	d.mu.Lock()
	defer d.mu.Unlock()
	schema := d.schemas[at]
	if schema == nil {
		var err error
		if schema, err = d.compiler.Compile(resource + "#" + (&url.URL{Fragment: at}).EscapedFragment()); err != nil {
			return []error{err}
		}
		d.schemas[at] = schema
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return []error{fmt.Errorf("not JSON: %w: %q", err, text)}
	}
	if err := schema.Validate(value); err != nil {
		return []error{err}
	}
	return nil
}

// pointer escapes a key for a JSON pointer (RFC 6901, 3).
func pointer(key string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(key) }

// Handler puts the definition before an API: every exchange is checked, what is wrong fails the test.
func (d *Definition) Handler(t testing.TB, api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/v1/") { // files that the API links to are no part of it
			api.ServeHTTP(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		got := httptest.NewRecorder()
		api.ServeHTTP(got, r)
		for _, err := range d.Check(r, strings.TrimPrefix(r.URL.Path, "/v1"), body, got.Code, got.Header(), got.Body.Bytes()) {
			t.Errorf("%s %s, answered %d: %v", r.Method, r.URL, got.Code, err)
		}
		maps.Copy(w.Header(), got.Header())
		w.WriteHeader(got.Code)
		_, _ = w.Write(got.Body.Bytes())
	})
}
