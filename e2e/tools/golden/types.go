package main

import (
	"io"
	"time"
)

// The reduced container API, as published: field names, types and JSON tags, misspellings included. The
// implementation in Rust has to write and read the same JSON.

type ContainerState int32

var ContainerStateName = map[int32]string{
	0: "CONTAINER_CREATED",
	1: "CONTAINER_RUNNING",
	2: "CONTAINER_EXITED",
	3: "CONTAINER_UNKNOWN",
}

var ContainerStateValues = map[string]int32{
	"CONTAINER_CREATED": 0,
	"CONTAINER_RUNNING": 1,
	"CONTAINER_EXITED":  2,
	"CONTAINER_UNKNOWN": 3,
}

type AuthConfig struct {
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	Auth          string `json:"auth,omitempty"`
	ServerAddress string `json:"server_address,omitempty"`
	IdentityToken string `json:"identity_token,omitempty"`
	RegistryToken string `json:"registry_token,omitempty"`
}

type Container struct {
	ID        string             `json:"id,omitempty"`
	Metadata  *ContainerMetadata `json:"metadata,omitempty"`
	Image     *ImageSpec         `json:"image,omitempty"`
	ImageRef  string             `json:"imageRef,omitempty"`
	State     ContainerState     `json:"state,omitempty"`
	CreatedAt int64              `json:"createdAt,omitempty"`
	Labels    map[string]string  `json:"labels,omitempty"`
}

type ContainerConfig struct {
	Metadata     *ContainerMetadata    `json:"metadata,omitempty"`
	Image        *ImageSpec            `json:"image,omitempty"`
	Command      []string              `json:"command,omitempty"`
	Args         []string              `json:"args,omitempty"`
	WorkingDir   string                `json:"workingDir,omitempty"`
	Envs         []*KeyValue           `json:"envs,omitempty"`
	Mounts       []*Mount              `json:"mounts,omitempty"`
	Devices      []*Device             `json:"devices,omitempty"`
	Labels       map[string]string     `json:"labels,omitempty"`
	Stdin        bool                  `json:"stdin,omitempty"`
	StdinOnce    bool                  `json:"stdinOnce,omitempty"`
	Tty          bool                  `json:"tty,omitempty"`
	Linux        *LinuxContainerConfig `json:"linux,omitempty"`
	LogDirectory string                `json:"logDirectory"`
	LogPath      string                `json:"logPath"`
}

type ContainerFilter struct {
	ID            string               `json:"id,omitempty"`
	State         *ContainerStateValue `json:"state,omitempty"`
	LabelSelector map[string]string    `json:"labelSelector,omitempty"`
}

type ContainerMetadata struct {
	Name string `json:"name,omitempty"`
}

type ContainerStateValue struct {
	State ContainerState `json:"state,omitempty"`
}

type ContainerStatus struct {
	ID         string             `json:"id,omitempty"`
	Metadata   *ContainerMetadata `json:"metadata,omitempty"`
	State      ContainerState     `json:"state,omitempty"`
	CreatedAt  int64              `json:"createdAt,omitempty"`
	StartedAt  int64              `json:"startedAt,omitempty"`
	FinishedAt int64              `json:"finishedAt,omitempty"`
	ExitCode   int32              `json:"exitCode,omitempty"`
	Image      *ImageSpec         `json:"image,omitempty"`
	ImageRef   string             `json:"image_Ref,omitempty"`
	Reason     string             `json:"reason,omitempty"`
	Message    string             `json:"message,omitempty"`
	Labels     map[string]string  `json:"labels,omitempty"`
	Mounts     []*Mount           `json:"mounts,omitempty"`
	LogPath    string             `json:"logPath,omitempty"`
}

type ContainerStatusRequest struct {
	ContainerID string `json:"containerID,omitempty"`
	Verbose     bool   `json:"verbose,omitempty"`
}

type ContainerStatusResponse struct {
	Status *ContainerStatus  `json:"status,omitempty"`
	Info   map[string]string `json:"info,omitempty"`
}

type CreateContainerRequest struct {
	Config *ContainerConfig `json:"config,omitempty"`
}

type CreateContainerResponse struct {
	ContainerID string `json:"containerID,omitempty"`
}

type Device struct {
	ContainerPath string `json:"containerPath,omitempty"`
	HostPath      string `json:"hostPath,omitempty"`
	Permissions   string `json:"permissions,omitempty"`
}

// ExecRequest has an omitempty that is misspelt, and so has no effect.
type ExecRequest struct {
	ContainerID string         `json:"containerID,omitempty"`
	Cmd         []string       `json:"cmd,omitempty"`
	Tty         bool           `json:"tty,omitempty"`
	Stdin       io.Reader      `json:"stdin,omitempty"`
	Stdout      io.WriteCloser `json:"stdout,omitempty"`
	Stderr      io.WriteCloser `json:"stderr,omitempty"`
	Timeout     time.Duration  `json:"timeout,omitemtpy"`
}

// ExecResponse has no tags.
type ExecResponse struct {
	ContainerID string
	ExitCode    int
}

type HugepageLimit struct {
	PageSize string `json:"pageSize,omitempty"`
	Limit    uint64 `json:"limit,omitempty"`
}

type Image struct {
	ID          string   `json:"id,omitempty"`
	RepoTags    []string `json:"repoTags,omitempty"`
	RepoDigests []string `json:"repoDigests,omitempty"`
	Size        uint64   `json:"size,omitempty"`
	UID         int64    `json:"uid,omitempty"`
	Username    string   `json:"username,omitempty"`
}

type ImageFilter struct {
	Image *ImageSpec `json:"image,omitempty"`
}

type ImageSpec struct {
	Image string `json:"image,omitempty"`
}

type ImageStatusRequest struct {
	Image   *ImageSpec `json:"image,omitempty"`
	Verbose bool       `json:"verbose,omitempty"`
}

type ImageStatusResponse struct {
	Image *Image            `json:"image,omitempty"`
	Info  map[string]string `json:"info,omitempty"`
}

type KeyValue struct {
	Key   string `json:"key,omitempty"`
	Value string `json:"value,omitempty"`
}

type LinuxContainerConfig struct {
	Resources *LinuxContainerResources `json:"resources,omitempty"`
}

type LinuxContainerResources struct {
	CPUPeriod          int64            `json:"cpuPeriod,omitempty"`
	CPUQuota           int64            `json:"cpuQuota,omitempty"`
	CPUShares          int64            `json:"cpuShares,omitempty"`
	MemoryLimitInBytes int64            `json:"memoryLimitInBytes,omitempty"`
	OomScoreAdj        int64            `json:"oomScoreAdj,omitempty"`
	CpusetCpus         string           `json:"cpusetCpus,omitempty"`
	CpusetMems         string           `json:"cpusetMems,omitempty"`
	HugepageLimits     []*HugepageLimit `json:"hugepageLimits,omitempty"`
}

type ListContainersRequest struct {
	Filter *ContainerFilter `json:"filter,omitempty"`
}

type ListContainersResponse struct {
	Containers []*Container `json:"containers,omitempty"`
}

type ListImagesRequest struct {
	Filter *ImageFilter `json:"filter,omitempty"`
}

type ListImagesResponse struct {
	Images []*Image `json:"images,omitempty"`
}

type Mount struct {
	ContainerPath string `json:"containerPath,omitempty"`
	HostPath      string `json:"hostPath,omitempty"`
	Readonly      bool   `json:"readonly,omitempty"`
	Propagation   int32  `json:"propagation,omitempty"`
}

type PullImageRequest struct {
	Image *ImageSpec  `json:"image,omitempty"`
	Auth  *AuthConfig `json:"auth,omitempty"`
}

type PullImageResponse struct {
	ImageRef string `json:"imageRef,omitempty"`
}

type RemoveContainerRequest struct {
	ContainerID string `json:"containerID,omitempty"`
}

type RemoveImageRequest struct {
	Image *ImageSpec `json:"image,omitempty"`
}

type ReopenContainerLogRequest struct {
	ContainerID string `json:"containerID,omitempty"`
}

type RuntimeCondition struct {
	Type    string `json:"type,omitempty"`
	Status  bool   `json:"status,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

type StartContainerRequest struct {
	ContainerID string `json:"containerID,omitempty"`
}

type StatusRequest struct {
	Verbose bool `json:"verbose,omitempty"`
}

type StatusResponse struct {
	Conditions []*RuntimeCondition `json:"status,omitempty"`
}

type StopContainerRequest struct {
	ContainerID string `json:"containerID,omitempty"`
	Timeout     int64  `json:"timeout,omitempty"`
}

type UpdateContainerResourcesRequest struct {
	ContainerID string                   `json:"containerID,omitempty"`
	Linux       *LinuxContainerResources `json:"linux,omitempty"`
}

type VersionRequest struct {
	Version string `json:"version,omitempty"`
}

type VersionResponse struct {
	Version           string `json:"version,omitempty"`
	RuntimeName       string `json:"runtimeName,omitempty"`
	RuntimeVersion    string `json:"runtimeVersion,omitempty"`
	RuntimeAPIVersion string `json:"runtimeApiVersion,omitempty"`
}
