// Reads texts as Kubernetes' tools do: a JSON list of YAML texts comes in, a list of {"value": ...} or {"error": ...} goes out.
package main

import (
	"encoding/json"
	"log"
	"os"

	"sigs.k8s.io/yaml"
)

type answer struct {
	Value json.RawMessage `json:"value,omitempty"`
	Error string          `json:"error,omitempty"`
}

func main() {
	var texts []string
	if err := json.NewDecoder(os.Stdin).Decode(&texts); err != nil {
		log.Fatal(err)
	}
	answers := make([]answer, len(texts))
	for i, text := range texts {
		value, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			answers[i].Error = err.Error()
			continue
		}
		answers[i].Value = value
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		log.Fatal(err)
	}
}
