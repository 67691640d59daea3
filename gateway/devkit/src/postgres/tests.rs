use tokio_postgres::NoTls;

use super::*;

async fn connect(url: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn running(id: u32) -> bool {
    Path::new(&format!("/proc/{id}")).exists()
}

#[tokio::test]
async fn it_answers_over_tcp_and_is_gone_when_dropped() {
    let server = PostgresServer::start().await.unwrap();
    let client = connect(&server.url()).await.unwrap();
    let row = client.query_one("SELECT 6 * 7", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 42);
    let wrong = server.url().replace(server.password(), "guessed");
    assert!(connect(&wrong).await.is_err(), "the password is not asked for");

    let (id, folder) = (server.id().unwrap(), server.socket_folder().to_owned());
    drop(server);
    assert!(!running(id) && !folder.exists());
    assert!(client.query_one("SELECT 1", &[]).await.is_err());
}

#[tokio::test]
async fn a_kill_ends_connections_and_a_restart_keeps_port_and_data() {
    let mut server = PostgresServer::start().await.unwrap();
    server
        .execute("CREATE TABLE t (n int); INSERT INTO t VALUES (7)")
        .await
        .unwrap();
    let (url, client) = (server.url(), connect(&server.url()).await.unwrap());
    server.kill().await.unwrap();
    assert!(client.query_one("SELECT 1", &[]).await.is_err());
    assert!(connect(&url).await.is_err());

    server.restart().await.unwrap();
    assert_eq!(server.url(), url);
    assert_eq!(
        server.query("SELECT n FROM t").await.unwrap(),
        [[Some("7".to_owned())]]
    );
    server.stop().await.unwrap();
    assert!(server.query("SELECT 1").await.is_err());
}

#[tokio::test]
async fn a_frozen_server_answers_nobody_until_it_goes_on() {
    let server = PostgresServer::start().await.unwrap();
    let client = connect(&server.url()).await.unwrap();
    server.suspend().await.unwrap();
    let mut asked = std::pin::pin!(client.query_one("SELECT 1", &[]));
    let answered = tokio::time::timeout(Duration::from_millis(300), &mut asked).await;
    assert!(answered.is_err(), "a frozen server has answered");
    server.resume().unwrap();
    let answered = tokio::time::timeout(ANSWER_WITHIN, asked).await.unwrap();
    assert_eq!(answered.unwrap().get::<_, i32>(0), 1);
}

#[tokio::test]
async fn a_refused_setting_is_told_with_the_servers_own_words() {
    let options = PostgresOptions {
        settings: vec![("max_connections".to_owned(), "many".to_owned())],
        tls: None,
    };
    let error = PostgresServer::start_with(options).await.unwrap_err().to_string();
    assert!(error.contains("max_connections"), "{error}");
}
