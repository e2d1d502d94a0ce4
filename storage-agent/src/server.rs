//! The agent's API: the management service asks, nobody else.

use axum::Router;
use axum::middleware::from_fn_with_state;
use podzol_rpc::refusals::management_alone;
use podzol_rpc::{Endpoint, Refusals, handle};
use podzol_storage_api::{
    PoolContents, PoolDelete, PoolPut, TemplateDelete, TemplatePut, VolumeDelete, VolumePut,
};

use crate::export::Exporter;
use crate::store::Store;

pub(crate) fn router<E: Exporter>(store: Store<E>, refusals: Refusals) -> Router {
    type S<E> = Store<E>;
    let pool_put =
        handle::<PoolPut, S<E>, _, _>(
            |store, _, (pool,), plan| async move { store.pool_put(pool, plan).await },
        );
    let pool_delete =
        handle::<PoolDelete, S<E>, _, _>(
            |store, _, (pool,), ()| async move { store.pool_delete(pool).await },
        );
    let template_put = handle::<TemplatePut, S<E>, _, _>(|store, _, (pool, sha256), plan| async move {
        store.template_put(pool, sha256, plan).await
    });
    let template_delete = handle::<TemplateDelete, S<E>, _, _>(|store, _, (pool, sha256), ()| async move {
        store.template_delete(pool, sha256).await
    });
    let volume_put = handle::<VolumePut, S<E>, _, _>(|store, _, (pool, volume), plan| async move {
        store.volume_put(pool, volume, plan).await
    });
    let volume_delete = handle::<VolumeDelete, S<E>, _, _>(|store, _, (pool, volume), ()| async move {
        store.volume_delete(pool, volume).await
    });
    let contents =
        handle::<PoolContents, S<E>, _, _>(|store, _, (pool,), ()| async move { store.contents(pool).await });
    Router::new()
        .route(PoolPut::ROUTE, pool_put.merge(pool_delete))
        .route(TemplatePut::ROUTE, template_put.merge(template_delete))
        .route(VolumePut::ROUTE, volume_put.merge(volume_delete))
        .route(PoolContents::ROUTE, contents)
        .with_state(store)
        // Last, so that it stands before every route above.
        .layer(from_fn_with_state(refusals, management_alone))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::Extension;
    use podzol_rpc::peer::CallerCertificate;
    use podzol_rpc::{Caller, PeerId};
    use podzol_vocab::{HostId, PoolId, Sha256};

    use super::*;
    use crate::testing::{Hosts, config, store};

    async fn answer_to(peer: Option<PeerId>) -> u16 {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&config(folder.path()), &Hosts::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fingerprint = Sha256::from_bytes([0; 32]);
        let certificate = peer.map(|peer| CallerCertificate { peer, fingerprint });
        let caller = Caller { address: SocketAddr::from(([127, 0, 0, 1], 1)), certificate };
        let refusals = Refusals::default();
        let router = router(store, refusals.clone()).layer(Extension(caller));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let url = format!("http://{address}/v1/pools/{}/contents", PoolId::new());
        let config = podzol_rpc::tls::public_client_config().unwrap();
        let answer = podzol_rpc::client::http_client(config, None).get(url).send().await.unwrap();
        assert_eq!(refusals.take().len(), usize::from(peer != Some(PeerId::Management)));
        answer.status().as_u16()
    }

    #[tokio::test]
    async fn only_the_management_service_may_ask() {
        assert_eq!(answer_to(Some(PeerId::Management)).await, 404);
        assert_eq!(answer_to(Some(PeerId::Host(HostId::new()))).await, 403);
        assert_eq!(answer_to(None).await, 403);
    }
}
