//! The network: CNI plugins and configurations.
