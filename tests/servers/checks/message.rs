use serde_json::json;

use crate::support::field::{Field, Shown, host, stop};
use crate::support::ports::free_port;
use crate::support::rabbitmq::RabbitMq;
use crate::support::tcp::FakeHttp;

/// What the contract does not know travels in version 2 alone, and leaves no key that the proxy would read.
#[tokio::test(flavor = "multi_thread")]
async fn the_contract_knows_nothing_of_other_kinds() {
    let mut field = Field::start(RabbitMq::vhost().await).await;
    let page = FakeHttp::answering("200 OK", "text/plain", "ready");
    let config = json!({"heartbeat": {
        "hosts": [host("front", page.address)],
        "http": [{"name": "page", "url": format!("http://{}/", page.address)}],
        "tls": [{"name": "cellar", "host": "127.0.0.1", "port": free_port(), "server_name": "a.example.org"}],
    }});
    let publisher = field.publisher("inside", &config).start();
    field.wait_shown("inside", "host", "front", Shown::Up).await;
    field.wait_shown("inside", "http", "page", Shown::Up).await;
    field.wait_shown("inside", "tls", "cellar", Shown::Down("refused")).await;
    stop([publisher]).await;
    field.assert_as_version_1().await;
    let keys = field.redis.keys("service:*").await;
    assert_eq!(keys, ["service:front:ok"], "only the host is the contract's");
}
