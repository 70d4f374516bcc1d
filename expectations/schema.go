package expectations

import "encoding/json"

// Schema gives the JSON Schema (draft 7) of expectation files. It comes from the same table as the parser.
func Schema() []byte {
	defs := map[string]any{}
	root := fileForm().Schema(defs)
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["title"] = "Tollgate expectations"
	root["definitions"] = defs
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic("expectations: the schema is no JSON: " + err.Error()) // maps of plain values only
	}
	return append(out, '\n')
}
