//! The processes of a container: zygote, monitor, workers, and the daemon side client.
