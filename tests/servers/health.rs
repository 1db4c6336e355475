//! `heartbeat healthcheck`: what a container or a unit asks.

use rustix::process::Signal;

use crate::support::field::{BOUND, config, host, publisher};
use crate::support::program::{Program, Setup};
use crate::support::rabbitmq::RabbitMq;
use crate::support::tcp::Accepting;
use crate::support::wait::wait_until;

/// The exit code, and what was said.
async fn healthcheck(of: &Program, ready: bool) -> (Option<i32>, String) {
    let setup = Setup::new("healthcheck").arg("publisher").env("HEALTH_FILE", of.variable("HEALTH_FILE"));
    let mut program = if ready { setup.arg("--ready") } else { setup }.start();
    let code = program.exit_code(BOUND).await;
    (code, program.log())
}

async fn wait_code(of: &Program, ready: bool, code: i32, says: &str) {
    wait_until(&format!("healthcheck (ready: {ready}) ends with {code}"), BOUND, async || match healthcheck(
        of, ready,
    )
    .await
    {
        (Some(seen), said) if seen == code && said.contains(says) => Ok(()),
        seen => Err(format!("{seen:?}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_of_a_publisher_is_told() {
    let vhost = RabbitMq::vhost().await;
    let port = Accepting::open();
    let wanted = config(&[host("port", port.address)], &[]);
    let mut ready = publisher(&vhost, "beats", "well", &wanted).start();
    wait_code(&ready, true, 0, "").await;
    wait_code(&ready, false, 0, "").await;

    // A port where nobody listens, since the harness gives none out twice.
    let nobody = crate::support::ports::free_port().to_string();
    let setup = publisher(&vhost, "beats", "cut off", &wanted);
    let cut_off = setup.env("PUBLISHER_ID", "cut-off").env("RABBITMQ_PORT", &nobody).start();
    wait_code(&cut_off, false, 0, "").await;
    wait_code(&cut_off, true, 1, "not connected to RabbitMQ").await;

    // Whoever asks for another role is not told of this one; the mode means nothing where a command names the role.
    let of_other = [("HEARTBEAT_MODE", "subscriber")];
    for (arguments, variables, code) in
        [(&["subscriber"][..], &[][..], 1), (&[], &of_other, 0), (&["publisher"], &of_other, 0)]
    {
        let mut command = ready.command(&[&["healthcheck"], arguments].concat());
        let output = command.envs(variables.iter().copied()).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {variables:?}: {said}");
        assert_eq!(said.contains("is of a publisher, and not of a subscriber"), code == 1, "{said}");
    }

    assert_eq!(ready.terminate(BOUND).await, Some(0));
    wait_code(&ready, false, 1, "is the process running").await;
    // One that hangs leaves its file behind, which grows old.
    cut_off.signal(Signal::STOP);
    wait_code(&cut_off, false, 1, "the last sign of life").await;
}
