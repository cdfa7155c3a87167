"""The readers of a process, which share a refresher."""

import asyncio
from dataclasses import dataclass

from app.application.catalog.cache_observer import CacheObserver, NullCacheObserver
from app.application.catalog.cache_refresher import CacheRefresher, Sleep
from app.application.catalog.catalog_reader import CatalogReader
from app.application.catalog.hot_products import HotProducts, NullHotProducts
from app.application.catalog.product_reader import ProductReader
from app.application.ports import BackgroundTasks, Clock, ProductCatalog
from app.domain.queries import Queries
from app.domain.repository import UnitOfWorkFactory
from tests import make


@dataclass(frozen=True, slots=True)
class Readers:
    """Of single products, and of the catalog."""

    products: ProductReader
    catalog: CatalogReader


def readers(
    *,
    uow: UnitOfWorkFactory,
    queries: Queries,
    catalog: ProductCatalog,
    tasks: BackgroundTasks,
    clock: Clock,
    observer: CacheObserver | None = None,
    hot: HotProducts | None = None,
    sleep: Sleep = asyncio.sleep,
) -> Readers:
    """Build the readers of one process."""
    policy, observer = make.CACHE_POLICY, observer or NullCacheObserver()
    hot = hot or NullHotProducts()
    refresher = CacheRefresher(
        uow=uow,
        catalog=catalog,
        tasks=tasks,
        clock=clock,
        policy=policy,
        observer=observer,
        hot=hot,
        sleep=sleep,
    )
    return Readers(
        ProductReader(
            queries=queries,
            refresher=refresher,
            hot=hot,
            clock=clock,
            policy=policy,
            observer=observer,
        ),
        CatalogReader(
            queries=queries, refresher=refresher, clock=clock, policy=policy, observer=observer
        ),
    )
