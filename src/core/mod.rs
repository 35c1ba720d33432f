//! The runtime core: implements the reduced model over images, specification and monitors.
