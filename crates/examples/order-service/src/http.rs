//! The routes.
//!
//! | request | answer |
//! |---|---|
//! | `POST /orders` | places an order; a repetition with the same `Idempotency-Key` gives the first answer |
//! | `GET /orders/ID` | the order, with its version as `ETag` |
//! | `POST /orders/ID/lines`, `/confirm`, `/cancel` | a command at the version of `If-Match`: 412 if it has changed, 428 without |
//! | `GET /orders?status=open&position=7` | the list, complete up to the position at least |
//! | `GET /health` | how far the read model and the process are |
//!
//! Owns the translation between requests and commands. Must never decide a rule.

use std::sync::Arc;
use std::time::Duration;

use annals_es::process::RunnerHandle;
use annals_es::projection::{Handle, State as ProjectionState};
use annals_es::{Context, Executed, OrderedStore, Position, Repository, Version, derived_id};
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::list::{OrderList, Page};
use crate::order::{Line, Order, OrderCommand, OrderEvent, Status};
use crate::problem::Problem;
use crate::store::Store;

/// The greatest length of a request's body, in bytes.
const LONGEST_BODY: usize = 16 * 1024;
/// How long a list waits for a position.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// The greatest number of orders of a list.
const LONGEST_LIST: u32 = 100;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What the handlers use; cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) orders: Repository<Order, Store>,
    pub(crate) list: Arc<OrderList>,
    pub(crate) projection: Handle,
    pub(crate) process: RunnerHandle,
}

pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/orders", get(list).post(place))
        .route("/orders/{id}", get(show))
        .route("/orders/{id}/lines", post(add_line))
        .route("/orders/{id}/confirm", post(confirm))
        .route("/orders/{id}/cancel", post(cancel))
        .route("/health", get(health))
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .with_state(app)
}

/// The version of an order as an entity tag.
pub(crate) fn entity_tag(version: Version) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

#[derive(Deserialize)]
struct Place {
    customer: String,
}

async fn place(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Json<Place>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(Place { customer }) = body?;
    let context = context(&headers)?;
    // A repetition has to find the same order.
    let id = match context.command_id {
        Some(key) => derived_id(key, "order"),
        None => Uuid::now_v7(),
    };
    let answer = execute(&app, id, &OrderCommand::Place { customer }, &context).await?;
    let location = [(header::LOCATION, format!("/orders/{id}"))];
    Ok((StatusCode::CREATED, location, answer).into_response())
}

async fn show(
    State(app): State<App>,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(id) = id?;
    let (version, order) = app.orders.view(id, |order, version| (version, order.clone())).await?;
    if version == Version::NONE {
        return Err(Problem::NotFound);
    }
    Ok(([(header::ETAG, entity_tag(version))], Json(order)).into_response())
}

async fn add_line(
    State(app): State<App>,
    id: Result<Path<Uuid>, PathRejection>,
    headers: HeaderMap,
    body: Result<Json<Line>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(line) = body?;
    change(&app, id, &headers, OrderCommand::AddLine(line)).await
}

async fn confirm(
    State(app): State<App>,
    id: Result<Path<Uuid>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    change(&app, id, &headers, OrderCommand::Confirm).await
}

async fn cancel(
    State(app): State<App>,
    id: Result<Path<Uuid>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    change(&app, id, &headers, OrderCommand::Cancel).await
}

/// Executes a command on an order that its sender saw at the version of `If-Match`.
async fn change(
    app: &App,
    id: Result<Path<Uuid>, PathRejection>,
    headers: &HeaderMap,
    command: OrderCommand,
) -> Result<Response, Problem> {
    let Path(id) = id?;
    let mut context = context(headers)?;
    if let Some(version) = if_match(headers)? {
        context = context.if_match(version);
    }
    execute(app, id, &command, &context).await
}

/// What a command has changed.
#[derive(Serialize)]
struct Answer {
    id: Uuid,
    version: Version,
    /// For `GET /orders?position=…`.
    position: Option<Position>,
    /// The command was executed earlier, by a request with the same `Idempotency-Key`.
    repeated: bool,
}

async fn execute(
    app: &App,
    id: Uuid,
    command: &OrderCommand,
    context: &Context,
) -> Result<Response, Problem> {
    let done = app.orders.execute_with(id, command, context).await?;
    let Executed::<OrderEvent> { events, version, position, already_recorded: repeated, .. } = done;
    if repeated && !events.iter().eq([&command.event()]) {
        return Err(Problem::KeyReused);
    }
    let answer = Answer { id, version, position, repeated };
    Ok(([(header::ETAG, entity_tag(version))], Json(answer)).into_response())
}

#[derive(Deserialize)]
struct ListQuery {
    status: Option<Status>,
    limit: Option<u32>,
    position: Option<Position>,
}

async fn list(
    State(app): State<App>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Page>, Problem> {
    let Query(ListQuery { status, limit, position }) = query?;
    if let Some(position) = position {
        let head = app.orders.store().head().await.map_err(annals_es::LoadError::from)?;
        if position > head {
            return Err(Problem::PositionAhead { head });
        }
        let wait = tokio::time::timeout(LONGEST_WAIT, app.projection.wait_for(position));
        wait.await.map_err(|_| Problem::Behind)??;
    }
    let limit = limit.unwrap_or(LONGEST_LIST).min(LONGEST_LIST);
    let read = move || app.list.newest(status, limit);
    let read = tokio::task::spawn_blocking(read).await.map_err(Problem::internal)?;
    Ok(Json(read.map_err(Problem::internal)?))
}

#[derive(Serialize)]
struct Health {
    list: String,
    list_position: Position,
    process_position: Position,
}

async fn health(State(app): State<App>) -> Response {
    let (list, process_position) = (app.projection.status(), app.process.position());
    let is_well = matches!(list.state, ProjectionState::CatchingUp | ProjectionState::Live);
    let status = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let (list, list_position) = (format!("{:?}", list.state), list.position);
    (status, Json(Health { list, list_position, process_position })).into_response()
}

/// The context of a command: its id is the `Idempotency-Key`, if there is one.
fn context(headers: &HeaderMap) -> Result<Context, Problem> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(Context::new()) };
    let key = key.to_str().ok().and_then(|key| Uuid::try_parse(key.trim_matches('"')).ok());
    let key = key.filter(|key| !key.is_nil());
    let key = key.ok_or_else(|| Problem::bad_request("the Idempotency-Key has to be a UUID"))?;
    Ok(Context::new().command_id(key))
}

/// The version of `If-Match`; `None` for `*`, which any version matches.
fn if_match(headers: &HeaderMap) -> Result<Option<Version>, Problem> {
    let mut tags = headers.get_all(header::IF_MATCH).iter();
    let tag = tags.next().ok_or(Problem::NoIfMatch)?.to_str().unwrap_or_default();
    if tags.next().is_some() || tag.contains(',') {
        return Err(Problem::bad_request("If-Match has to be one entity tag, or *"));
    }
    if tag == "*" {
        return Ok(None);
    }
    let version = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')?.parse().ok());
    // Any other tag, such as a weak one, is that of no version.
    Ok(Some(version.map_or(Version::MAX, Version::new)))
}
