//! The agent's API: the management service asks, nobody else.

use axum::Router;
use podzol_rpc::{Caller, Endpoint, PeerId, handle};
use podzol_storage_api::{
    PoolContents, PoolDelete, PoolPut, TemplateDelete, TemplatePut, VolumeDelete, VolumePut,
};
use podzol_vocab::{ErrorCode, WireError};

use crate::export::Exporter;
use crate::store::Store;

pub(crate) fn router<E: Exporter>(store: Store<E>) -> Router {
    type S<E> = Store<E>;
    let pool_put = handle::<PoolPut, S<E>, _, _>(|store, caller, (pool,), plan| async move {
        allow(&caller)?;
        store.pool_put(pool, plan).await
    });
    let pool_delete = handle::<PoolDelete, S<E>, _, _>(|store, caller, (pool,), ()| async move {
        allow(&caller)?;
        store.pool_delete(pool).await
    });
    let template_put = handle::<TemplatePut, S<E>, _, _>(|store, caller, (pool, sha256), plan| async move {
        allow(&caller)?;
        store.template_put(pool, sha256, plan).await
    });
    let template_delete =
        handle::<TemplateDelete, S<E>, _, _>(|store, caller, (pool, sha256), ()| async move {
            allow(&caller)?;
            blocking(move || store.template_delete(pool, sha256)).await
        });
    let volume_put = handle::<VolumePut, S<E>, _, _>(|store, caller, (pool, volume), plan| async move {
        allow(&caller)?;
        blocking(move || store.volume_put(pool, volume, &plan)).await
    });
    let volume_delete = handle::<VolumeDelete, S<E>, _, _>(|store, caller, (pool, volume), ()| async move {
        allow(&caller)?;
        blocking(move || store.volume_delete(pool, volume)).await
    });
    let contents = handle::<PoolContents, S<E>, _, _>(|store, caller, (pool,), ()| async move {
        allow(&caller)?;
        blocking(move || store.contents(pool)).await
    });
    Router::new()
        .route(PoolPut::ROUTE, pool_put.merge(pool_delete))
        .route(TemplatePut::ROUTE, template_put.merge(template_delete))
        .route(VolumePut::ROUTE, volume_put.merge(volume_delete))
        .route(PoolContents::ROUTE, contents)
        .with_state(store)
}

/// Work on disks, away from the threads that serve connections.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WireError> + Send + 'static,
) -> Result<T, WireError> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|_| Err(WireError::new(ErrorCode::Internal, "the work broke off")))
}

fn allow(caller: &Caller) -> Result<(), WireError> {
    match caller.peer() {
        Some(PeerId::Management) => Ok(()),
        _ => Err(WireError::new(ErrorCode::Refused, "only the management service may ask")),
    }
}
