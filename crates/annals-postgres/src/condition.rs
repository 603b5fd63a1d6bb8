//! Queries as conditions of SQL.
//!
//! Owns the translation. Must never send a statement.

use annals_es::{Query, QueryItem};
use tokio_postgres::types::{ToSql, Type};

type Value = Box<dyn ToSql + Sync + Send>;

/// A statement's parameters with their types.
#[derive(Default)]
pub(crate) struct Parameters(Vec<(Value, Type)>);

impl Parameters {
    /// Adds a value, and returns its name in the statement.
    pub(crate) fn add(&mut self, value: impl ToSql + Sync + Send + 'static, of: Type) -> String {
        self.0.push((Box::new(value), of));
        format!("${}", self.0.len())
    }

    pub(crate) fn add_number(&mut self, value: i64) -> String {
        self.add(value, Type::INT8)
    }

    pub(crate) fn values(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        self.0.iter().map(|(value, of)| (&**value as &(dyn ToSql + Sync), of.clone())).collect()
    }
}

/// The condition that the events of a query meet.
pub(crate) fn of(query: &Query, parameters: &mut Parameters) -> String {
    if query.is_all() {
        return "true".into();
    }
    let items: Vec<String> =
        query.items().iter().filter_map(|item| of_item(item, parameters)).collect();
    if items.is_empty() { "false".into() } else { items.join(" OR ") }
}

/// `None` if no event can meet the condition, because PostgreSQL cannot store the character NUL.
fn of_item(item: &QueryItem, parameters: &mut Parameters) -> Option<String> {
    let is_storable = |text: &str| !text.contains('\0');
    let mut all = Vec::new();
    if !item.types.is_empty() {
        let types: Vec<String> = item.types.iter().filter(|it| is_storable(it)).cloned().collect();
        all.push(format!("event_type = ANY ({})", parameters.add(types, Type::TEXT_ARRAY)));
    }
    if !item.tags.is_empty() {
        if !item.tags.iter().all(|it| is_storable(it)) {
            return None;
        }
        let tags = parameters.add(item.tags.clone(), Type::TEXT_ARRAY);
        all.push(format!("tags @> {tags}"));
    }
    if let Some(stream) = &item.stream {
        if !is_storable(stream.as_str()) {
            return None;
        }
        let stream = parameters.add(stream.as_str().to_owned(), Type::TEXT);
        all.push(format!("stream = {stream}"));
    }
    if let Some(category) = &item.category {
        if !is_storable(category) {
            return None;
        }
        all.push(format!("category = {}", parameters.add(category.clone(), Type::TEXT)));
    }
    Some(if all.is_empty() { "true".into() } else { format!("({})", all.join(" AND ")) })
}
