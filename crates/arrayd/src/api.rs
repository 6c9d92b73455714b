// SPDX-License-Identifier: MIT OR Apache-2.0
//! The HTTPS face for hosts (`docs/api.md`, `docs/openapi.json`): a host's token says who calls, JSON bodies of
//! [`array_api::wire`], errors as [`ErrorBody`] with the status of their kind.

use crate::service::Service;
use array_api::wire::{self, ContractRange};
use array_api::{
    AbortOutcome, Armed, ArrayError, ArrayErrorKind, ArrayInfo, CheckAnswer, CheckRequest,
    CommitReport, ErrorBody, PrepareRequest, SetId, Token,
};
use axum::body::Bytes;
use axum::extract::{
    DefaultBodyLimit, Extension, FromRequest, FromRequestParts, Path, Request, State,
};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use utoipa::OpenApi;

type Shared = State<Arc<Service>>;
type Answer<T> = Result<Json<T>, Refusal>;

/// A host that announces a body and does not send it must not keep its connection for ever.
const BODY_MAX: Duration = Duration::from_secs(10);
/// Who asks for the end of a resync holds a thread for so long at most.
const RESYNC_WAIT_MAX: Duration = Duration::from_secs(10);

/// The routes of the host API.
pub fn router(service: Arc<Service>) -> Router {
    let authenticated = Router::new()
        .route(wire::INFO, get(info))
        .route(wire::ORPHANS, get(orphans))
        .route(wire::QUERY, post(query))
        .route(wire::CHECK, post(check))
        .route(wire::MAP, post(map))
        .route(wire::UNMAP, post(unmap))
        .route(wire::BREAK, post(break_copies))
        .route(wire::DELETE, post(delete))
        .route(wire::RESYNC, post(resync))
        .route(wire::RESYNC_STATUS, post(resync_status))
        .route(wire::CANCEL_RESYNC, post(cancel_resync))
        .route("/v1/sets/{set}/prepare", post(prepare))
        .route("/v1/sets/{set}/ready", post(ready))
        .route("/v1/sets/{set}/arm", post(arm))
        .route("/v1/sets/{set}/commit", post(commit))
        .route("/v1/sets/{set}/report", post(report))
        .route("/v1/sets/{set}/abort", post(abort))
        .fallback(no_such_call)
        .method_not_allowed_fallback(no_such_call)
        .route_layer(middleware::from_fn_with_state(
            Arc::clone(&service),
            authenticate,
        ));
    Router::new()
        .route(wire::OPENAPI, get(openapi))
        .merge(authenticated)
        .layer(DefaultBodyLimit::max(wire::REQUEST_BYTES_MAX))
        .layer(middleware::map_response(state_contract))
        .with_state(service)
}

/// The OpenAPI document, as it is checked in.
pub fn openapi_json() -> String {
    let mut text = Document::openapi()
        .to_pretty_json()
        .expect("the document has a JSON form");
    text.push('\n');
    text
}

/// The host that calls.
#[derive(Clone)]
struct Caller(String);

struct Refusal(ArrayError);

impl From<ArrayError> for Refusal {
    fn from(error: ArrayError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.kind.http_status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(ErrorBody::from(self.0))).into_response()
    }
}

/// A JSON body whose faults are told in the contract's form.
struct Body<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let bytes = tokio::time::timeout(BODY_MAX, Bytes::from_request(request, state))
            .await
            .map_err(|_| invalid(format!("the body did not come within {BODY_MAX:?}")))?
            .map_err(|error| invalid(format!("the body cannot be read: {error}")))?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| invalid(format!("the body does not fit: {error}")))
    }
}

/// The set in the path, whose faults are told in the contract's form.
struct InSet(SetId);

impl<S: Send + Sync> FromRequestParts<S> for InSet {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let text = Path::<String>::from_request_parts(parts, state).await.ok();
        text.and_then(|Path(text)| text.parse().ok())
            .map(Self)
            .ok_or_else(|| {
                Refusal(ArrayError::new(
                    ArrayErrorKind::InvalidRequest,
                    "the set id in the path is no UUID",
                    "write it as 8-4-4-4-12 hexadecimal digits",
                ))
            })
    }
}

fn invalid(message: String) -> Refusal {
    Refusal(ArrayError::new(
        ArrayErrorKind::InvalidRequest,
        message,
        "compare the request with docs/openapi.json",
    ))
}

/// Every answer states the contract's versions, errors included: a client of another version has to understand why.
async fn state_contract(mut response: Response) -> Response {
    let versions =
        HeaderValue::from_str(&ContractRange::OURS.to_string()).expect("digits and a dash");
    response
        .headers_mut()
        .insert(wire::CONTRACT_HEADER, versions);
    response
}

async fn authenticate(
    State(service): Shared,
    mut request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    check_contract(&request)?;
    let token = bearer(&request).ok_or_else(|| {
        ArrayError::new(
            ArrayErrorKind::Unauthenticated,
            "the request has no token of 64 hexadecimal digits",
            "send the enrolled token as `Authorization: Bearer`",
        )
    })?;
    let host = blocking(move || service.authenticate(&token)).await?;
    request.extensions_mut().insert(Caller(host));
    Ok(next.run(request).await)
}

fn check_contract(request: &Request) -> Result<(), ArrayError> {
    let stated = request.headers().get(wire::CONTRACT_HEADER);
    let stated = stated
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let theirs: ContractRange = stated.parse().map_err(|error| {
        ArrayError::new(
            ArrayErrorKind::InvalidRequest,
            format!(
                "header {} is missing or malformed: {error}",
                wire::CONTRACT_HEADER
            ),
            "state the contract versions that the client speaks",
        )
    })?;
    if theirs.meets(ContractRange::OURS) {
        return Ok(());
    }
    Err(ArrayError::new(
        ArrayErrorKind::NotSupported,
        format!(
            "the client speaks contract versions {theirs}, the array {}",
            ContractRange::OURS
        ),
        "update the older side",
    ))
}

fn bearer(request: &Request) -> Option<Token> {
    let value = request
        .headers()
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(())?;
    token.trim().parse().ok()
}

/// Runs a call of the service. It goes to its end even when the client hangs up: the thread belongs to nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArrayError> + Send + 'static,
) -> Result<T, ArrayError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            tracing::error!(%error, "a call ended in a panic");
            Err(ArrayError::new(
                ArrayErrorKind::Internal,
                "the array failed in this call",
                "look at the array's log and report it as a defect",
            ))
        })
}

async fn answer<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArrayError> + Send + 'static,
) -> Answer<T> {
    Ok(Json(blocking(work).await?))
}

async fn no_such_call() -> Refusal {
    invalid("there is no such path or method".to_owned())
}

/// Who the array is, what it can do, and how much space it has.
#[utoipa::path(get, path = wire::INFO, tag = "array",
    responses((status = 200, body = ArrayInfo), (status = "default", body = ErrorBody)))]
async fn info(
    State(service): Shared,
    Extension(Caller(host)): Extension<Caller>,
) -> Answer<ArrayInfo> {
    answer(move || service.info(&host)).await
}

/// Copies of this host that VSS may not know or may have lost sight of.
#[utoipa::path(get, path = wire::ORPHANS, tag = "copies",
    responses((status = 200, body = wire::OrphanList), (status = "default", body = ErrorBody)))]
async fn orphans(
    State(service): Shared,
    Extension(Caller(host)): Extension<Caller>,
) -> Answer<wire::OrphanList> {
    answer(move || {
        let orphans = service.orphans(&host);
        Ok(wire::OrphanList { orphans })
    })
    .await
}

/// What the array knows of LUNs, also of those that this host does not have mapped.
#[utoipa::path(post, path = wire::QUERY, tag = "copies", request_body = wire::LunList,
    responses((status = 200, body = wire::LunInfoList), (status = "default", body = ErrorBody)))]
async fn query(
    State(service): Shared,
    Extension(Caller(host)): Extension<Caller>,
    Body(body): Body<wire::LunList>,
) -> Answer<wire::LunInfoList> {
    answer(move || {
        let luns = service.query(&host, &body.luns);
        Ok(wire::LunInfoList { luns })
    })
    .await
}

/// Whether a copy could be prepared now. Allocates nothing.
#[utoipa::path(post, path = wire::CHECK, tag = "sets", request_body = CheckRequest,
    responses((status = 200, body = CheckAnswer), (status = "default", body = ErrorBody)))]
async fn check(
    State(service): Shared,
    Extension(Caller(host)): Extension<Caller>,
    Body(body): Body<CheckRequest>,
) -> Answer<CheckAnswer> {
    answer(move || Ok(service.check(&host, &body))).await
}

/// Maps copies read/write to this host, all or none. They can be seen when this answers.
#[utoipa::path(post, path = wire::MAP, tag = "copies", request_body = wire::LunList,
    responses((status = 200, body = wire::Done), (status = "default", body = ErrorBody)))]
async fn map(
    State(service): Shared,
    Extension(Caller(host)): Extension<Caller>,
    Body(body): Body<wire::LunList>,
) -> Answer<wire::Done> {
    answer(move || service.map(&host, &body.luns).map(|()| wire::Done {})).await
}

/// Unmaps copies from this host only and keeps the data.
#[utoipa::path(post, path = wire::UNMAP, tag = "copies", request_body = wire::LunList,
    responses((status = 200, body = wire::Done), (status = "default", body = ErrorBody)))]
async fn unmap(
    State(service): Shared,
    Extension(Caller(host)): Extension<Caller>,
    Body(body): Body<wire::LunList>,
) -> Answer<wire::Done> {
    answer(move || service.unmap(&host, &body.luns).map(|()| wire::Done {})).await
}

/// Copies become ordinary LUNs, and are unmapped from this host if it wants that.
#[utoipa::path(post, path = wire::BREAK, tag = "copies", request_body = wire::BreakRequest,
    responses((status = 200, body = wire::Done), (status = "default", body = ErrorBody)))]
async fn break_copies(
    State(service): Shared,
    Extension(Caller(host)): Extension<Caller>,
    Body(body): Body<wire::BreakRequest>,
) -> Answer<wire::Done> {
    answer(move || {
        service
            .break_copies(&host, &body.luns, body.unmap_too)
            .map(|()| wire::Done {})
    })
    .await
}

/// Unmaps a copy from this host and deletes it, unless another host has it mapped.
#[utoipa::path(post, path = wire::DELETE, tag = "copies", request_body = wire::DeleteRequest,
    responses((status = 200, body = wire::DeleteAnswer), (status = "default", body = ErrorBody)))]
async fn delete(
    State(service): Shared,
    Extension(Caller(host)): Extension<Caller>,
    Body(body): Body<wire::DeleteRequest>,
) -> Answer<wire::DeleteAnswer> {
    answer(move || {
        let outcome = service.delete(&host, body.copy)?;
        Ok(wire::DeleteAnswer { outcome })
    })
    .await
}

/// Overwrites LUNs with copies, all or none. Needs the resync right.
#[utoipa::path(post, path = wire::RESYNC, tag = "copies", request_body = wire::ResyncRequest,
    responses((status = 200, body = wire::ResyncAnswer), (status = "default", body = ErrorBody)))]
async fn resync(
    State(service): Shared,
    Extension(Caller(host)): Extension<Caller>,
    Body(body): Body<wire::ResyncRequest>,
) -> Answer<wire::ResyncAnswer> {
    answer(move || {
        let status = service.resync(&host, body.id, &body.pairs)?;
        Ok(wire::ResyncAnswer { status })
    })
    .await
}

/// How a resync stands; waits for its end for a while.
#[utoipa::path(post, path = wire::RESYNC_STATUS, tag = "copies", request_body = wire::ResyncStatusRequest,
    responses((status = 200, body = wire::ResyncAnswer), (status = "default", body = ErrorBody)))]
async fn resync_status(
    State(service): Shared,
    Extension(Caller(host)): Extension<Caller>,
    Body(body): Body<wire::ResyncStatusRequest>,
) -> Answer<wire::ResyncAnswer> {
    answer(move || {
        let wait = Duration::from_millis(body.wait_ms.into()).min(RESYNC_WAIT_MAX);
        let status = service.resync_status(&host, body.id, wait)?;
        Ok(wire::ResyncAnswer { status })
    })
    .await
}

/// Stops a resync; says how it ended if it has ended.
#[utoipa::path(post, path = wire::CANCEL_RESYNC, tag = "copies", request_body = wire::CancelResyncRequest,
    responses((status = 200, body = wire::ResyncAnswer), (status = "default", body = ErrorBody)))]
async fn cancel_resync(
    State(service): Shared,
    Extension(Caller(host)): Extension<Caller>,
    Body(body): Body<wire::CancelResyncRequest>,
) -> Answer<wire::ResyncAnswer> {
    answer(move || {
        let status = service.cancel_resync(&host, body.id)?;
        Ok(wire::ResyncAnswer { status })
    })
    .await
}

/// Adds the LUNs of one shadow copy to a set and reserves a target for each.
#[utoipa::path(post, path = "/v1/sets/{set}/prepare", tag = "sets", params(("set" = uuid::Uuid, Path)),
    request_body = PrepareRequest,
    responses((status = 200, body = wire::PrepareAnswer), (status = "default", body = ErrorBody)))]
async fn prepare(
    State(service): Shared,
    Extension(Caller(host)): Extension<Caller>,
    InSet(set): InSet,
    Body(body): Body<PrepareRequest>,
) -> Answer<wire::PrepareAnswer> {
    answer(move || {
        let outcome = service.prepare(&host, set, &body)?;
        Ok(wire::PrepareAnswer { outcome })
    })
    .await
}

/// Whether every target can be committed at once.
#[utoipa::path(post, path = "/v1/sets/{set}/ready", tag = "sets", params(("set" = uuid::Uuid, Path)),
    request_body = wire::ReadyRequest,
    responses((status = 200, body = wire::ReadyAnswer), (status = "default", body = ErrorBody)))]
async fn ready(
    State(service): Shared,
    Extension(Caller(host)): Extension<Caller>,
    InSet(set): InSet,
    Body(_): Body<wire::ReadyRequest>,
) -> Answer<wire::ReadyAnswer> {
    answer(move || {
        let readiness = service.ready(&host, set)?;
        Ok(wire::ReadyAnswer { readiness })
    })
    .await
}

/// Writes back and starts the deadline after which the array refuses to capture.
#[utoipa::path(post, path = "/v1/sets/{set}/arm", tag = "sets", params(("set" = uuid::Uuid, Path)),
    request_body = wire::Nothing,
    responses((status = 200, body = Armed), (status = "default", body = ErrorBody)))]
async fn arm(
    State(service): Shared,
    Extension(Caller(host)): Extension<Caller>,
    InSet(set): InSet,
    Body(_): Body<wire::Nothing>,
) -> Answer<Armed> {
    answer(move || service.arm(&host, set)).await
}

/// Captures all LUNs of the set at one instant, durably.
#[utoipa::path(post, path = "/v1/sets/{set}/commit", tag = "sets", params(("set" = uuid::Uuid, Path)),
    request_body = wire::Nothing,
    responses((status = 200, body = CommitReport), (status = "default", body = ErrorBody)))]
async fn commit(
    State(service): Shared,
    Extension(Caller(host)): Extension<Caller>,
    InSet(set): InSet,
    Body(_): Body<wire::Nothing>,
) -> Answer<CommitReport> {
    answer(move || service.commit(&host, set)).await
}

/// The copies of these sources, reported from now on.
#[utoipa::path(post, path = "/v1/sets/{set}/report", tag = "sets", params(("set" = uuid::Uuid, Path)),
    request_body = wire::ReportRequest,
    responses((status = 200, body = wire::ReportAnswer), (status = "default", body = ErrorBody)))]
async fn report(
    State(service): Shared,
    Extension(Caller(host)): Extension<Caller>,
    InSet(set): InSet,
    Body(body): Body<wire::ReportRequest>,
) -> Answer<wire::ReportAnswer> {
    answer(move || {
        let copies = service.report(&host, set, &body.sources)?;
        Ok(wire::ReportAnswer { copies })
    })
    .await
}

/// Gives a set up.
#[utoipa::path(post, path = "/v1/sets/{set}/abort", tag = "sets", params(("set" = uuid::Uuid, Path)),
    request_body = wire::AbortRequest,
    responses((status = 200, body = AbortOutcome), (status = "default", body = ErrorBody)))]
async fn abort(
    State(service): Shared,
    Extension(Caller(host)): Extension<Caller>,
    InSet(set): InSet,
    Body(body): Body<wire::AbortRequest>,
) -> Answer<AbortOutcome> {
    answer(move || service.abort(&host, set, body.reported_too)).await
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], openapi_json())
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Shadowlun array",
        description = "Management contract between the VSS provider and the array. Every request states the contract \
                       versions that the client speaks in the header shadowlun-contract (OLDEST-NEWEST); \
                       every answer states those of the array. docs/api.md says what each call means.",
        version = "1",
    ),
    paths(
        info, orphans, query, check, map, unmap, break_copies, delete, resync, resync_status, cancel_resync, prepare, ready, arm, commit, report,
        abort
    ),
    modifiers(&BearerToken),
    security(("token" = []))
)]
struct Document;

struct BearerToken;

impl utoipa::Modify for BearerToken {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme(
            "token",
            SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
        );
        // The macro takes the licence of the package and no server: the address is the enrolment's matter.
        document.servers = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    /// A body that was announced and never comes.
    struct Silent;

    impl axum::body::HttpBody for Silent {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    #[test]
    fn body_that_does_not_come_is_refused_in_time() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let request = Request::new(axum::body::Body::new(Silent));
        let body = Body::<wire::LunList>::from_request(request, &());
        let error = runtime.block_on(body).err().expect("no body came").0;
        assert_eq!(error.kind, ArrayErrorKind::InvalidRequest);
    }
}
