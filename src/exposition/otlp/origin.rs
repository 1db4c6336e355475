//! Whose telemetry it is: the resource and the scope that stand before it in each request.

use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::build_info::VERSION;

/// Name of the instrumentation scope of everything that this program tells.
pub const SCOPE: &str = "heartbeat";

/// The resource and the scope of some telemetry.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// Who tells.
    pub resource: Resource,
    /// By which code.
    pub scope: InstrumentationScope,
}

impl Origin {
    /// This program's, in the name of whom these attributes describe.
    pub fn new(attributes: impl IntoIterator<Item = (String, String)>) -> Self {
        let attributes = attributes.into_iter().map(|(key, value)| key_value(key, text(value))).collect();
        let scope =
            InstrumentationScope { name: SCOPE.into(), version: VERSION.into(), ..Default::default() };
        Self { resource: Resource { attributes, ..Resource::default() }, scope }
    }
}

/// An attribute.
pub fn key_value(key: impl Into<String>, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A value that is text.
pub fn text(value: impl Into<String>) -> any_value::Value {
    any_value::Value::StringValue(value.into())
}
