//! gRPC reflection, v1 and v1alpha: what is served on the socket, told to clients that do not know it beforehand. Always
//! there, since it tells nothing that is not published, and only to whom the socket is open.

use tonic::service::Routes;
use tonic_reflection::server::Builder;

/// Adds both versions, which tell of what these encoded descriptor sets hold, and of themselves.
pub(super) fn with(routes: Routes, descriptors: &[&'static [u8]]) -> Routes {
    let builder = || {
        let begun = Builder::configure();
        descriptors.iter().fold(begun, |builder, set| {
            builder.register_encoded_file_descriptor_set(set)
        })
    };
    let readable = "the build has made the descriptors";
    routes
        .add_service(builder().build_v1().expect(readable))
        .add_service(builder().build_v1alpha().expect(readable))
}
