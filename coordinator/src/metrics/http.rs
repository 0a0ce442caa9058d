//! The page `/metrics` on the port of gRPC. Who may read it, the guard has decided. May import axum.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use tonic::service::Routes;

use super::SharedMetrics;

/// What OpenMetrics 1.0 calls itself; Prometheus goes by it.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The routes with the page beside them.
pub(crate) fn with_page(mut routes: Routes, metrics: SharedMetrics) -> Routes {
    let page = Router::new()
        .route("/metrics", get(show))
        .with_state(metrics);
    let router = routes.axum_router_mut();
    *router = std::mem::take(router).merge(page);
    routes
}

async fn show(State(metrics): State<SharedMetrics>) -> Response {
    // It looks at files.
    let text = tokio::task::spawn_blocking(move || metrics.page.text(&metrics.sources.snapshot()));
    match text.await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Ok(Err(error)) => broken(&error),
        Err(error) => broken(&error),
    }
}

fn broken(error: &dyn std::error::Error) -> Response {
    tracing::error!(%error, "the page of metrics cannot be written; this is a bug");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
