//! A vhost of a broker: the room of one test.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::{Value, json};

use super::rabbitmq::Ports;
use super::rabbitmq_api::{Api, Permissions, encode};
use super::wait::wait_until;

/// A vhost with a user that may do everything in it and see everything in the management API, as guest does.
#[derive(Clone, Debug)]
pub struct Vhost {
    /// The name; the user and its password bear it too.
    pub name: String,
    /// The broker's ports.
    pub ports: Ports,
    /// The broker's management API.
    pub api: Api,
    password: String,
}

impl Vhost {
    /// Creates one with a name that is not used yet. A `/` in it keeps the callers' encoding honest.
    pub async fn create(api: Api, ports: Ports) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test/{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        api.must("PUT", &format!("/api/vhosts/{}", encode(&name)), &json!({})).await;
        api.create_user(&name, &name, &name, "administrator", Permissions::ALL).await;
        // guest, as which the API is called, sees into a vhost only with an entry of its own.
        api.permit(&name, "guest", Permissions::ALL).await;
        Self { password: name.clone(), name, ports, api }
    }

    /// The same, once its user has another password.
    pub fn with_password(&self, password: &str) -> Self {
        Self { password: password.to_owned(), ..self.clone() }
    }

    /// The contract's variables that lead a program here.
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("RABBITMQ_HOST", "127.0.0.1".to_owned()),
            ("RABBITMQ_PORT", self.ports.amqp.to_string()),
            ("RABBITMQ_MANAGEMENT_PORT", self.ports.http.to_string()),
            ("RABBITMQ_USER", self.name.clone()),
            ("RABBITMQ_PASS", self.name.clone()),
            ("RABBITMQ_VHOST", self.name.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// An AMQP URI with this vhost's user.
    pub fn uri(&self) -> String {
        let (name, password) = (encode(&self.name), encode(&self.password));
        format!("amqp://{name}:{password}@127.0.0.1:{}/{name}", self.ports.amqp)
    }

    /// A connection and a channel on it with confirms; both are gone when the connection is dropped.
    pub async fn connect(&self) -> (Connection, Channel) {
        let connection = Connection::connect(&self.uri(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        (connection, channel)
    }

    /// Declares a durable queue; `arguments` as the management API takes them, such as `{"x-max-length": 5}`.
    pub async fn declare_queue(&self, queue: &str, arguments: Value) {
        self.api
            .must("PUT", &self.path("queues", queue), &json!({"durable": true, "arguments": arguments}))
            .await;
    }

    /// Deletes a queue; its consumers are cancelled.
    pub async fn delete_queue(&self, queue: &str) {
        self.api.must("DELETE", &self.path("queues", queue), &Value::Null).await;
    }

    /// Removes all messages that wait in a queue.
    pub async fn purge_queue(&self, queue: &str) {
        self.api.must("DELETE", &format!("{}/contents", self.path("queues", queue)), &Value::Null).await;
    }

    /// Declares a durable topic exchange.
    pub async fn declare_exchange(&self, exchange: &str) {
        let body = json!({"type": "topic", "durable": true});
        self.api.must("PUT", &self.path("exchanges", exchange), &body).await;
    }

    /// Binds a queue to an exchange.
    pub async fn bind(&self, exchange: &str, queue: &str, key: &str) {
        let vhost = encode(&self.name);
        let path = format!("/api/bindings/{vhost}/e/{}/q/{}", encode(exchange), encode(queue));
        self.api.must("POST", &path, &json!({"routing_key": key})).await;
    }

    /// Removes a binding.
    pub async fn unbind(&self, exchange: &str, queue: &str, key: &str) {
        let names = [&self.name, exchange, queue, key].map(encode);
        let [vhost, exchange, queue, key] = names;
        let path = format!("/api/bindings/{vhost}/e/{exchange}/q/{queue}/{key}");
        self.api.must("DELETE", &path, &Value::Null).await;
    }

    /// Declares a queue and consumes it under a tag, until the answer is dropped; the statistics show it.
    pub async fn consume(&self, queue: &str, tag: &str) -> Connection {
        self.declare_queue(queue, json!({})).await;
        let (connection, channel) = self.connect().await;
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(queue.into(), tag.into(), options, FieldTable::default());
        consumer.await.unwrap().set_delegate(|_| async {});
        connection
    }

    /// A user beside the vhost's own.
    pub async fn create_user(&self, name: &str, pass: &str, tags: &str, permissions: Permissions<'_>) {
        self.api.create_user(&self.name, name, pass, tags, permissions).await;
    }

    /// Publishes messages in order and waits until the broker has confirmed them all.
    pub async fn publish(
        &self,
        exchange: &str,
        key: &str,
        properties: &BasicProperties,
        bodies: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) {
        let (_connection, channel) = self.connect().await;
        let mut confirms = Vec::new();
        for body in bodies {
            let options = BasicPublishOptions::default();
            let sent = channel.basic_publish(
                exchange.into(),
                key.into(),
                options,
                body.as_ref(),
                properties.clone(),
            );
            confirms.push(sent.await.unwrap());
        }
        for confirm in confirms {
            assert!(confirm.await.unwrap().is_ack(), "the broker did not take a message");
        }
    }

    /// Takes the next message off a queue, when there is one.
    pub async fn take(&self, queue: &str) -> Option<(Vec<u8>, BasicProperties)> {
        let (_connection, channel) = self.connect().await;
        let message = channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap()?;
        Some((message.delivery.data.clone(), message.delivery.properties.clone()))
    }

    /// Messages ready and consumers of a queue, as of now: the management API tells them seconds late.
    pub async fn queue_depth(&self, queue: &str) -> (u32, u32) {
        let (_connection, channel) = self.connect().await;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare(queue.into(), passive, FieldTable::default()).await.unwrap();
        (queue.message_count(), queue.consumer_count())
    }

    /// Waits until the management API shows a consumer with this tag, which takes a second or two.
    pub async fn wait_consumer(&self, queue: &str, tag: &str) {
        wait_until(&format!("a consumer {tag} on {queue}"), Duration::from_secs(20), async || {
            let seen = self.queue(queue).await?;
            let consumers = seen["consumer_details"].as_array().cloned().unwrap_or_default();
            let found = consumers.iter().any(|consumer| consumer["consumer_tag"] == tag);
            if found { Ok(()) } else { Err(format!("consumers: {consumers:?}")) }
        })
        .await;
    }

    /// Closes all connections to this vhost from the broker's side, and says how many.
    pub async fn close_connections(&self) -> usize {
        self.api.close_connections(&self.name).await
    }

    /// What the management API says of a queue.
    pub async fn queue(&self, name: &str) -> Result<Value, String> {
        self.queue_by(&self.api, name).await
    }

    /// The same by another node of the broker.
    pub async fn queue_by(&self, api: &Api, name: &str) -> Result<Value, String> {
        api.call("GET", &self.path("queues", name), "").await
    }

    fn path(&self, kind: &str, name: &str) -> String {
        format!("/api/{kind}/{}/{}", encode(&self.name), encode(name))
    }
}
