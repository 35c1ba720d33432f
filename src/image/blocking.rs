//! Work that blocks: one place that runs it.

use super::error::ImageError;

/// Runs what blocks, in the module's one place for it. It runs to its end even if the caller goes.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
        .await
        .map_err(|error| ImageError::Task(error.to_string()))?
}
