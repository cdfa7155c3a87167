"""What requests about a customer's favorites have in common."""

from functools import partial
from typing import Annotated

from fastapi import Depends, Path, Request, Response

from app.application.accounts.read_customer import ReadCustomer
from app.application.favorites.read_list_version import ReadListVersion
from app.domain.access import Scope
from app.domain.customer import CustomerId
from app.domain.outcome import CustomerNotFound, CustomerOnly, InsufficientScope
from app.domain.page import DEFAULT_LIMIT
from app.infra.http.access import own_customer
from app.infra.http.conditional import ListState, Revalidation
from app.infra.http.paging import Cursor, Limit, Links, Paging
from app.infra.http.schema import ProductIdIn
from app.infra.http.use_cases import use

favorites_guard = own_customer(read=Scope.FAVORITES_READ, write=Scope.FAVORITES_WRITE)
GUARDED = (CustomerNotFound, InsufficientScope, CustomerOnly)
"""What the guard can end with."""

OwnCustomer = Annotated[CustomerId, Depends(favorites_guard)]
ProductPath = Annotated[ProductIdIn, Path(description="A product's id in the catalog.")]


async def favorites_paging(
    request: Request, customer_id: OwnCustomer, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Paging:
    """
    Return the paging of a customer's favorites.

    :raises InvalidCursor: if the cursor does not belong to them, these filters and this order
    """
    links = Links(
        request.app.state.cursors,
        path=request.url.path,
        query=request.query_params.multi_items(),
        name=favorites_name(customer_id),
    )
    return Paging(limit, None if cursor is None else links.position(cursor), links)


async def first_page(
    request: Request, customer_id: OwnCustomer, limit: Limit = DEFAULT_LIMIT
) -> Paging:
    """Return the paging of an answer that holds the beginning of a customer's favorites."""
    links = Links(
        request.app.state.cursors,
        path=request.url.path.rpartition("/")[0] + "/favorites",
        query=[("limit", str(limit))],
        name=favorites_name(customer_id),
    )
    return Paging(limit, None, links)


def favorites_name(customer_id: CustomerId) -> str:
    """Return the one name of a list that can be asked for by several."""
    return f"/customers/{customer_id}/favorites"


FavoritesPagingIn = Annotated[Paging, Depends(favorites_paging)]
FirstPageIn = Annotated[Paging, Depends(first_page)]

VersionReader = Annotated[ReadListVersion, Depends(use(lambda all_: all_.read_list_version))]


async def list_revalidation(
    request: Request, response: Response, customer_id: OwnCustomer, read_version: VersionReader
) -> Revalidation:
    """Return what spares the answer about favorites that a client holds already."""
    state = partial(_list_state, read_version, customer_id)
    return Revalidation(request, response, customer_id, state)


async def profile_revalidation(
    request: Request,
    response: Response,
    customer_id: OwnCustomer,
    read_version: VersionReader,
    read_customer: Annotated[ReadCustomer, Depends(use(lambda all_: all_.read_customer))],
) -> Revalidation:
    """Return what spares the profile that a client holds already."""

    async def state() -> ListState:
        customer = await read_customer(customer_id=customer_id)
        of_list = await _list_state(read_version, customer_id)
        return ListState((customer.version, *of_list.numbers), exists=True)

    return Revalidation(request, response, customer_id, state)


async def _list_state(read_version: ReadListVersion, customer_id: CustomerId) -> ListState:
    version = await read_version(customer_id=customer_id)
    # A list that never changed could be that of a customer who has been erased.
    return ListState((version.favorites, version.catalog), exists=version.favorites > 0)


ListRevalidation = Annotated[Revalidation, Depends(list_revalidation)]
ProfileRevalidation = Annotated[Revalidation, Depends(profile_revalidation)]
