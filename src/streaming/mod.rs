//! Streaming of exec, attach and port-forward.
