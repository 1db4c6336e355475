//! The page as people have it: in a browser, with the keyboard, without JavaScript, on a phone.
// Helpers of tests may end them.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod browser;
mod made_up;
mod program;

use std::io::{Read, Write};
use std::net::TcpStream;

use browser::{Browser, User};
use fantoccini::Locator;
use fantoccini::key::Key;
use heartbeat_bridge::heartbeat::{ComponentKey, Reason};
use program::{Host, Program};

/// The text of the row of a component, on the page.
fn row(name: &str) -> String {
    format!(
        "return [...document.querySelectorAll('#live tr')].filter(row => row.querySelector('th[scope=row] bdi')\
         ?.textContent === {name:?}).map(row => row.className).join()"
    )
}

fn is_shown(name: &str, word: &str) -> String {
    row(name).replacen("return ", "return (", 1) + &format!(") === {word:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_down_is_shown_without_a_reload() {
    let (database, files) = (Host::up(), Host::up());
    let program = Program::start(&[("database", database.port()), ("files", files.port())]);
    let browser = Browser::start(User::default()).await;
    browser.page.goto(&program.url("")).await.unwrap();
    browser.until(&is_shown("database", "up")).await;
    browser.run("window.still = 'the same document'").await;
    // Somebody has the focus on a link, and keeps it.
    browser.run("[...document.querySelectorAll('#live h2 a')].at(-1).focus()").await;
    let focused = browser.run("return document.activeElement.href").await;
    drop(database);
    browser.until(&is_shown("database", "down")).await;
    browser.until(&is_shown("files", "up")).await;
    let text = browser.text().await;
    assert!(text.contains("connection refused") && text.contains("1 down of 2"), "{text}");
    assert_eq!(browser.run("return window.still").await, "the same document");
    assert_eq!(browser.run("return document.activeElement.href").await, focused);

    // On the page of its publisher, what happened of late.
    drop(files);
    browser.until(&is_shown("files", "down")).await;
    assert!(browser.text().await.contains("in maintenance, which ends in"));
    browser.page.goto(&program.url("publisher?id=oslo")).await.unwrap();
    let recent = "[...document.querySelectorAll('.recent li.down bdi')].map(name => name.textContent).join()";
    browser.until(&format!("return {recent} === 'files,database'")).await;
    let windows = "return document.querySelector('.windows').innerText";
    let windows = browser.run(windows).await.as_str().unwrap().to_owned();
    assert!(windows.contains("now: files, ends in") && windows.contains("new disks"), "{windows}");
    assert!(windows.contains("planned: everything, begins in"), "{windows}");

    // And that it is not current any more, once.
    drop(program);
    browser.until("return document.getElementById('notice').textContent.startsWith('Not current')").await;
    assert_eq!(browser.run("return document.body.className").await, "old");
    assert_eq!(browser.run("return document.title.startsWith('(not current) ')").await, true);
    assert_eq!(browser.run("return document.getElementById('notice').getAttribute('role')").await, "status");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_is_enough() {
    let host = Host::up();
    let program = Program::start(&[("database", host.port())]);
    let browser = Browser::start(User::default()).await;
    browser.page.goto(&program.url("")).await.unwrap();
    browser.until(&is_shown("database", "up")).await;
    let press = async |key: &str| {
        let focused = browser.page.active_element().await.unwrap();
        focused.send_keys(key).await.unwrap();
    };
    // First of all the way past what is the same on every page.
    press(&Key::Tab.to_string()).await;
    assert_eq!(browser.run("return document.activeElement.className").await, "skip");
    press(&Key::Enter.to_string()).await;
    assert_eq!(browser.run("return document.activeElement.id").await, "main");
    // Then the search.
    press(&Key::Tab.to_string()).await;
    assert_eq!(browser.run("return document.activeElement.id").await, "q");
    press("nothing like it").await;
    press(&Key::Enter.to_string()).await;
    browser.until("return location.search.includes('q=nothing+like+it')").await;
    browser.until("return document.body.innerText.includes('None of 2 publishers is found')").await;
    browser.page.goto(&program.url("?q=DATA&state=up")).await.unwrap();
    browser.until(&is_shown("database", "up")).await;
    assert!(browser.text().await.contains("1 of 2 publishers"));
    assert_eq!(browser.run("return document.querySelectorAll('input:checked').length").await, 1);
    // To a publisher and back.
    browser.run("document.querySelector('#live h2 a').focus()").await;
    press(&Key::Enter.to_string()).await;
    browser.until("return document.title.startsWith('oslo: up')").await;
    browser.run("document.querySelector('main a').focus()").await;
    press(&Key::Enter.to_string()).await;
    browser.until("return document.title.startsWith('Heartbeat: 2')").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_javascript_it_shows_and_searches() {
    let host = Host::up();
    let program = Program::start(&[("database", host.port())]);
    let browser = Browser::start(User { javascript: false, ..User::default() }).await;
    let find = async |css: &str| browser.page.find(Locator::Css(css)).await.unwrap();
    let begun = std::time::Instant::now();
    loop {
        browser.page.goto(&program.url("")).await.unwrap();
        let text = browser.text().await;
        if text.contains("all 1 up") {
            break;
        }
        assert!(begun.elapsed() < browser::BOUND, "{text}");
    }
    find("#q").await.send_keys("bergen").await.unwrap();
    find("button").await.click().await.unwrap();
    let text = browser.text().await;
    assert!(text.contains("1 of 2 publishers") && text.contains("never heard of"), "{text}");
    find("h2 a").await.click().await.unwrap();
    let text = browser.text().await;
    assert!(text.contains("bergen") && text.contains("silent"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_full_of_html_is_text() {
    const NAME: &str =
        "<img src=x onerror=\"document.title='broken'\"> & <script>document.title='broken'</script>";
    let host = Host::up();
    let program = Program::start(&[(NAME, host.port())]);
    let browser = Browser::start(User::default()).await;
    browser.page.goto(&program.url("")).await.unwrap();
    browser.until(&is_shown(NAME, "up")).await;
    for path in ["", "publisher?id=oslo", "publisher?id=%3Cscript%3Edocument.title%3D'broken'%3C%2Fscript%3E"]
    {
        browser.page.goto(&program.url(path)).await.unwrap();
        browser.until("return document.readyState === 'complete'").await;
        assert_eq!(browser.run("return document.querySelectorAll('main img, main script').length").await, 0);
        assert_ne!(browser.run("return document.title").await, "broken", "{path}");
    }
}

/// By axe-core, which judges by the rules of WCAG; and to look at, under target/page.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_accessible_in_light_and_dark_at_every_width() {
    let host = Host::up();
    let gone = Host::up().port();
    let hosts: Vec<(String, u16)> = (0..6)
        .map(|number| (format!("service-{number}"), if number == 3 { gone } else { host.port() }))
        .collect();
    let hosts: Vec<(&str, u16)> = hosts.iter().map(|(name, port)| (name.as_str(), *port)).collect();
    let program = Program::start(&hosts);
    for (name, width, dark) in [("wide", 1280, false), ("tablet", 768, true), ("phone", 500, false)] {
        let browser = Browser::start(User { width, dark, ..User::default() }).await;
        let prefers = browser.run("return matchMedia('(prefers-color-scheme: dark)').matches").await;
        assert_eq!(prefers, dark, "the browser is as it was asked to be");
        for (page, path) in [("fleet", ""), ("publisher", "publisher?id=oslo"), ("nobody", "publisher?id=x")]
        {
            browser.page.goto(&program.url(path)).await.unwrap();
            if page != "nobody" {
                browser.until(&is_shown("service-3", "down")).await;
            }
            browser.picture(&format!("{page}-{name}")).await;
            let violations = browser.violations().await;
            assert!(violations.is_empty(), "{page}, {name}: {violations:#?}");
            let fits = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth";
            assert_eq!(browser.run(fits).await, true, "{page}, {name}: it is wider than the window");
        }
    }
}

/// The head of an answer, in small letters.
fn head(program: &Program, path: &str) -> String {
    let mut stream = TcpStream::connect(&program.address).unwrap();
    stream.set_read_timeout(Some(browser::BOUND)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().0.to_lowercase()
}

#[test]
fn every_path_of_the_description_answers_as_it_is_described() {
    let host = Host::up();
    let program = Program::start(&[("database", host.port())]);
    let asked = [
        ("/api/v1/publishers?state=up&q=x&page=2", 200, "application/json"),
        ("/api/v1/publishers?state=foo", 400, "application/json"),
        ("/api/v1/publisher?id=bergen", 200, "application/json"),
        ("/api/v1/publisher", 400, "application/json"),
        ("/api/v1/publisher?id=x", 404, "application/json"),
        ("/badge.svg?id=bergen", 200, "image/svg+xml"),
        ("/badge.svg?id=x", 404, "image/svg+xml"),
    ];
    let beside = [
        ("/api/v1/openapi.json", 200, "application/json"),
        ("/publisher?id=x", 404, "text/html"),
        ("/?state=foo", 400, "text/html"),
        ("/assets/page.css", 200, "text/css"),
        ("/assets/page.js", 200, "text/javascript"),
        ("/assets/x", 404, "text/plain"),
        ("//", 404, "text/plain"),
    ];
    for (path, status, content_type) in asked.iter().chain(&beside) {
        let head = head(&program, path);
        let described = format!("content-type: {content_type}");
        assert!(
            head.starts_with(&format!("http/1.1 {status}")) && head.contains(&described),
            "{path}: {head}"
        );
    }
    let described: serde_json::Value = serde_json::from_str(heartbeat_bridge::page::json::OPENAPI).unwrap();
    for (path, methods) in described["paths"].as_object().unwrap() {
        for status in methods["get"]["responses"].as_object().unwrap().keys() {
            let is_asked = |(asked, seen, _): &(&str, u16, &str)| {
                asked.split('?').next() == Some(path) && seen.to_string() == *status
            };
            assert!(asked.iter().any(is_asked), "{path} and {status} are described, and not asked for");
        }
    }
    let page = head(&program, "/");
    assert!(
        page.contains("content-security-policy: default-src 'none'; style-src 'self'; script-src 'self'"),
        "{page}"
    );
}

/// A thousand publishers, the last of them on the tenth page, are found and shown like ten.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_publishers_are_legible() {
    let publishers = (0..1_000).map(|number| {
        let states: Vec<_> = (0..10)
            .map(|component| {
                let found = if number % 50 == 7 && component == 3 { Err(Reason::Refused) } else { Ok(()) };
                let key = ComponentKey::host(&format!("service-{component}"));
                made_up::component(key, "10.0.0.7:5432", found, 600)
            })
            .collect();
        made_up::publisher(&format!("site-{number:04}"), if number % 100 == 9 { 4_000 } else { 20 }, &states)
    });
    let (url, _server) = made_up::serve(publishers.collect());
    let browser = Browser::start(User::default()).await;
    browser.page.goto(&url).await.unwrap();
    browser.until("return document.readyState === 'complete'").await;
    let text = browser.text().await;
    for told in ["10 silent", "20 down", "970 up", "Page 1 of 10"] {
        assert!(text.contains(told), "{told}: {text}");
    }
    // What is not up is seen at once, what is up is folded away.
    assert_eq!(browser.run("return document.querySelectorAll('.publisher.down tr.down').length").await, 20);
    assert_eq!(browser.run("return document.querySelectorAll('details[open]').length").await, 0);
    let painted =
        browser.run("return performance.getEntriesByName('first-contentful-paint')[0]?.startTime").await;
    assert!(painted.is_number(), "{painted}");
    println!("first paint with 1,000 publishers: {painted} ms");
    browser.picture("thousand").await;
    assert_eq!(browser.violations().await, Vec::<String>::new());
    // In one step, since the page may be renewed between two.
    browser.run("document.querySelector('a[rel=next]').click()").await;
    browser.until("return document.body.innerText.includes('Page 2 of 10')").await;
}

/// The picture of the README: `cargo test --test page -- --ignored`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes docs/page.png"]
async fn picture_for_the_readme() {
    let host = |name: &str, target: &str, found, since| {
        made_up::component(ComponentKey::host(name), target, found, since)
    };
    let queue = |name: &str, found, since| made_up::component(ComponentKey::queue(name), "", found, since);
    let ingest = ComponentKey::consumer("ingest", "inbox");
    let publishers = vec![
        made_up::publisher("bergen", 2_400, &[]),
        made_up::publisher(
            "oslo",
            12,
            &[
                host("database", "db:5432", Ok(()), 777_600),
                host("archive", "s3:9000", Err(Reason::Timeout), 540),
                made_up::component(ingest, "", Ok(()), 86_400),
                queue("inbox", Ok(()), 86_400),
            ],
        ),
        made_up::publisher(
            "tromso",
            31,
            &[host("database", "db:5432", Ok(()), 345_600), host("archive", "s3:9000", Ok(()), 90_000)],
        ),
    ];
    let (url, _server) = made_up::serve(publishers);
    let browser = Browser::start(User { height: 820, ..User::default() }).await;
    browser.page.goto(&url).await.unwrap();
    browser.until("return document.readyState === 'complete'").await;
    let picture = browser.page.screenshot().await.unwrap();
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/page.png"), picture).unwrap();
}
