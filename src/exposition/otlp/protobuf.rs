//! Protocol Buffers, as far as metrics need them: written straight into bytes, since a million points made
//! as objects first would be ten million allocations. What is written here is read back by
//! opentelemetry-proto in the tests.

/// Appends a number as a varint.
fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes of a number as a varint.
fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// A field of varying length: text, bytes or a message.
const LENGTH_DELIMITED: u64 = 2;
/// A field of eight bytes.
const FIXED_64: u64 = 1;

/// The field's number and type.
fn push_tag(out: &mut Vec<u8>, field: u64, kind: u64) {
    push_varint(out, field << 3 | kind);
}

/// Appends a field that holds a number.
pub(super) fn push_number(out: &mut Vec<u8>, field: u64, value: u64) {
    push_tag(out, field, 0);
    push_varint(out, value);
}

/// Appends a field of eight bytes: a time, a float, or a whole number.
pub(super) fn push_fixed64(out: &mut Vec<u8>, field: u64, value: u64) {
    push_tag(out, field, FIXED_64);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a field that holds text, bytes, or an encoded message.
pub(super) fn push_bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    push_length(out, field, value.len());
    out.extend_from_slice(value);
}

/// Begins a field of so many bytes, which are appended next.
pub(super) fn push_length(out: &mut Vec<u8>, field: u64, length: usize) {
    push_tag(out, field, LENGTH_DELIMITED);
    push_varint(out, length as u64);
}

/// Bytes of a whole field with so many bytes in it; fields of metrics are numbered below 16.
pub(super) fn field_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

/// `KeyValue` and `AnyValue` number their parts so.
const KEY: u64 = 1;
const VALUE: u64 = 2;
const STRING_VALUE: u64 = 1;

/// Appends an attribute whose value is text, as the repeated field `field`.
pub(super) fn push_attribute(out: &mut Vec<u8>, field: u64, key: &str, value: &str) {
    let any = field_len(value.len());
    push_length(out, field, field_len(key.len()) + field_len(any));
    push_bytes(out, KEY, key.as_bytes());
    push_length(out, VALUE, any);
    push_bytes(out, STRING_VALUE, value.as_bytes());
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::metrics::v1::NumberDataPoint;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    proptest! {
        #[test]
        fn lengths_are_what_is_written(value: u64, text in ".{0,200}") {
            for value in [value, value >> 32, value >> 57] {
                let mut out = Vec::new();
                push_varint(&mut out, value);
                prop_assert_eq!(out.len(), varint_len(value));
            }
            let mut out = Vec::new();
            push_bytes(&mut out, 7, text.as_bytes());
            prop_assert_eq!(out.len(), field_len(text.len()));
        }

        #[test]
        fn attributes_are_read_back(key in ".{0,200}", value in ".{0,200}") {
            let mut out = Vec::new();
            push_attribute(&mut out, 7, &key, &value);
            let point = NumberDataPoint::decode(&*out).unwrap();
            prop_assert_eq!(&point.attributes[0].key, &key);
            let any = point.attributes[0].value.clone().and_then(|any| any.value);
            let expected = opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue(value);
            prop_assert_eq!(any, Some(expected));
        }
    }
}
