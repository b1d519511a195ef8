//! Who is there and who is nobody, where this node's map or the home shard has not heard of a tenant yet.

use strongroom_service::standing::{Found, NotStanding};

use crate::world::{TENANT, World, other_tenant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_the_own_map_lacks_is_nobody_only_if_the_leader_says_so() {
    let mut world = World::new().await;
    let behind = world.standings(&[]);
    let boss = || "boss".parse().unwrap();
    world.found_cluster().await;
    assert_eq!(behind.tenant(TENANT).await, Err(NotStanding::Identity));
    assert_eq!(behind.now(TENANT, boss()).await, Err(NotStanding::Identity));
    world.create_tenant().await;
    assert_eq!(behind.tenant(TENANT).await, Err(NotStanding::Unavailable), "it is there: ask again");
    assert_eq!(behind.now(TENANT, boss()).await, Err(NotStanding::Unavailable));
    let knows = world.standings(&[&world.facts.clone()]);
    let Found { row, active } = knows.now(TENANT, boss()).await.unwrap();
    assert!(row.is_some_and(|row| row.open) && active);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_of_a_tenant_of_which_the_home_shard_was_not_told_are_not_called_nobody() {
    let mut world = World::new().await;
    let other = other_tenant();
    let knows = world.standings(&[&other]);
    let boss = || "boss".parse().unwrap();
    assert_eq!(knows.now(other.tenant, boss()).await, Err(NotStanding::Unavailable));
    world.admit_tenant(&other).await;
    assert!(knows.now(other.tenant, boss()).await.unwrap().row.is_some());
    assert_eq!(knows.now(other.tenant, "nobody".parse().unwrap()).await, Ok(Found { row: None, active: true }));
}
