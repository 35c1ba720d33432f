// The benchmark's CRI client.
// Test tools only: nothing of this is linked into Coracle.
module coracle.test/tools/bench

go 1.26.0

require (
	github.com/containernetworking/cni v1.3.0
	github.com/moby/spdystream v0.5.1
	golang.org/x/sys v0.50.0
	google.golang.org/grpc v1.79.3
	google.golang.org/protobuf v1.36.12-0.20260120151049-f2248ac996af
	k8s.io/cri-api v0.36.3
)

require (
	golang.org/x/net v0.49.0 // indirect
	golang.org/x/text v0.33.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260128011058-8636f8732409 // indirect
)
