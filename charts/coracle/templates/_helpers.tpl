{{- define "coracle.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "coracle.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "coracle.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "coracle.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "coracle.selector" -}}
app.kubernetes.io/name: {{ include "coracle.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "coracle.labels" -}}
{{ include "coracle.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "coracle.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default .Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{/* The command line of a node's command, without the last words. */}}
{{- define "coracle.node" -}}
- /usr/bin/coracle
- node
- --root=/host
- --service-manager={{ .Values.serviceManager }}
{{- end -}}

{{/* The words that a switch and its undoing share. */}}
{{- define "coracle.moving" -}}
- --by-unit
- --unit={{ .Values.switch.kubeletUnit }}
- --healthz={{ .Values.switch.healthz }}
- --timeout={{ .Values.switch.timeoutSeconds }}
- --grace={{ .Values.switch.graceSeconds }}
{{- with .Values.switch.from }}
- --from={{ . }}
{{- end }}
{{- end -}}

{{/*
A DaemonSet that does one thing to each of its nodes, and stays. Takes a dict: root, action, words (of the command), expect (when it
is done), affinity or label (which nodes).
*/}}
{{- define "coracle.daemonset" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: {{ include "coracle.fullname" $root }}-{{ .action }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "coracle.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .action }}
spec:
  selector:
    matchLabels:
      {{- include "coracle.selector" $root | nindent 6 }}
      app.kubernetes.io/component: {{ .action }}
  updateStrategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: {{ $values.maxUnavailable }}
  template:
    metadata:
      labels:
        {{- include "coracle.selector" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .action }}
        {{- with $values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        coracle.dev/config: {{ include (print $root.Template.BasePath "/configmap.yaml") $root | sha256sum }}
        {{- with $values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      serviceAccountName: {{ include "coracle.fullname" $root }}
      # The network of pods may be what is missing on a node.
      hostNetwork: true
      priorityClassName: {{ $values.priorityClassName }}
      terminationGracePeriodSeconds: 300
      {{- with $values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      nodeSelector:
        kubernetes.io/os: linux
        {{- if .label }}
        coracle.dev/node: {{ .label }}
        {{- end }}
        {{- with $values.nodeSelector }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- if not .label }}
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            nodeSelectorTerms:
              - matchExpressions:
                  - key: coracle.dev/node
                    operator: NotIn
                    values: [uninstall]
      {{- end }}
      {{- with $values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        # The node's directories are root's, and systemd hears nobody else.
        runAsUser: 0
        runAsGroup: 0
        seccompProfile:
          type: RuntimeDefault
        {{- with $values.seLinuxOptions }}
        seLinuxOptions:
          {{- toYaml . | nindent 10 }}
        {{- end }}
      containers:
        - name: {{ .action }}
          image: {{ include "coracle.image" $root }}
          imagePullPolicy: {{ $values.image.pullPolicy }}
          command:
            {{- include "coracle.node" $root | nindent 12 }}
            - --stay
            {{- range .words }}
            - {{ . }}
            {{- end }}
          {{- if .expect }}
          readinessProbe:
            exec:
              command:
                {{- include "coracle.node" $root | nindent 16 }}
                - status
                {{- range .expect }}
                - {{ . }}
                {{- end }}
            periodSeconds: 10
            timeoutSeconds: 10
          {{- end }}
          securityContext:
            allowPrivilegeEscalation: false
            privileged: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
          {{- with $values.resources }}
          resources:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- if and (eq .action "install") (gt (int $values.metrics.port) 0) }}
          ports:
            - name: metrics
              containerPort: {{ $values.metrics.port }}
          {{- end }}
          volumeMounts:
            - name: config
              # As a path of its own it stays what it was when the pod began: a probe of the old pods that fails for the new settings
              # would have all of them replaced at once.
              mountPath: /config/node.toml
              subPath: node.toml
              readOnly: true
            {{- range include "coracle.directories" $root | fromYamlArray }}
            - name: {{ .name }}
              mountPath: /host{{ .path }}
            {{- end }}
            {{- if eq $values.serviceManager "systemd" }}
            - name: systemd
              mountPath: /run/systemd/private
            {{- end }}
      volumes:
        - name: config
          configMap:
            name: {{ include "coracle.fullname" $root }}
        {{- range include "coracle.directories" $root | fromYamlArray }}
        - name: {{ .name }}
          hostPath:
            path: {{ .path }}
            type: DirectoryOrCreate
        {{- end }}
        {{- if eq $values.serviceManager "systemd" }}
        - name: systemd
          hostPath:
            path: /run/systemd/private
            type: Socket
        {{- end }}
{{- end -}}

{{/* The node's directories that something is written to, and no other. */}}
{{- define "coracle.directories" -}}
- {name: program, path: /opt/coracle}
- {name: command, path: /usr/local/bin}
- {name: settings, path: /etc/coracle}
- {name: units, path: /etc/systemd/system}
- {name: memory, path: /var/lib/coracle-node}
{{- end -}}
