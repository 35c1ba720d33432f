// Golden writes what Go's encoding/json makes of the reduced container API: for each type a file of its zero value
// and one with every field set, and the two maps of state names. The Rust types are held to these files.
//
//	go run . -out ../../../src/model/testdata
package main

import (
	"encoding/json"
	"flag"
	"log"
	"os"
	"path/filepath"
	"reflect"
)

var types = []any{
	AuthConfig{}, Container{}, ContainerConfig{}, ContainerFilter{}, ContainerMetadata{}, ContainerStateValue{},
	ContainerStatus{}, ContainerStatusRequest{}, ContainerStatusResponse{}, CreateContainerRequest{},
	CreateContainerResponse{}, Device{}, ExecRequest{}, ExecResponse{}, HugepageLimit{}, Image{}, ImageFilter{},
	ImageSpec{}, ImageStatusRequest{}, ImageStatusResponse{}, KeyValue{}, LinuxContainerConfig{},
	LinuxContainerResources{}, ListContainersRequest{}, ListContainersResponse{}, ListImagesRequest{},
	ListImagesResponse{}, Mount{}, PullImageRequest{}, PullImageResponse{}, RemoveContainerRequest{},
	RemoveImageRequest{}, ReopenContainerLogRequest{}, RuntimeCondition{}, StartContainerRequest{}, StatusRequest{},
	StatusResponse{}, StopContainerRequest{}, UpdateContainerResourcesRequest{}, VersionRequest{}, VersionResponse{},
}

func main() {
	out := flag.String("out", ".", "directory to write to")
	flag.Parse()
	for _, zero := range types {
		kind := reflect.TypeOf(zero)
		full := reflect.New(kind).Elem()
		fill(full, kind.Name())
		write(*out, kind.Name()+".zero.json", zero)
		write(*out, kind.Name()+".full.json", full.Interface())
	}
	write(*out, "ContainerStateName.json", ContainerStateName)
	write(*out, "ContainerStateValues.json", ContainerStateValues)
}

// fill sets everything that JSON can show. Streams stay nil: they have no JSON. No two numbers of one type are
// equal, and every string says where it is, so that a swapped pair of fields shows.
func fill(value reflect.Value, where string) {
	switch value.Kind() {
	case reflect.Struct:
		for n := range value.NumField() {
			number = n
			fill(value.Field(n), where+"."+value.Type().Field(n).Name)
		}
	case reflect.Pointer:
		value.Set(reflect.New(value.Type().Elem()))
		fill(value.Elem(), value.Type().Elem().Name())
	case reflect.Slice:
		value.Set(reflect.MakeSlice(value.Type(), 2, 2))
		for n := range value.Len() {
			fill(value.Index(n), where)
		}
	case reflect.Map:
		value.Set(reflect.ValueOf(map[string]string{where: "value of " + where, "b": ""}))
	case reflect.String:
		value.SetString(where + " <&> \"ü\"")
	case reflect.Bool:
		value.SetBool(true)
	case reflect.Int32:
		// Enumerations: the number of a state or of a propagation. An exit code may be any.
		value.SetInt(2)
	case reflect.Int:
		// The exit code of a command.
		value.SetInt(137)
	case reflect.Int64:
		value.SetInt(1<<40 + int64(number))
	case reflect.Uint64:
		value.SetUint(1<<63 + uint64(number))
	}
}

// number of the field that is being filled.
var number int

func write(dir, name string, value any) {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		log.Fatalf("encode %s: %v", name, err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), append(text, '\n'), 0o644); err != nil {
		log.Fatal(err)
	}
}
