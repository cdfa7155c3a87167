"""Generated pictures of the products, which need no download and no license."""

from html import escape

SHAPES = {
    "electronics": (
        '<rect x="110" y="120" width="180" height="120" rx="10"/>'
        '<rect x="124" y="134" width="152" height="92" rx="4" fill="#ffffff55"/>'
        '<path d="M180 240h40l8 30h-56z"/><rect x="150" y="268" width="100" height="10" rx="5"/>'
    ),
    "jewelery": (
        '<circle cx="200" cy="220" r="66" fill="none" stroke="#fff" stroke-width="14"/>'
        '<path d="M168 118h64l22 28-54 50-54-50z"/><path d="M146 146h108" stroke="#0002"/>'
    ),
    "men's clothing": (
        '<path d="M160 110l-60 36 18 50 24-10v104h116V186l24 10 18-50-60-36q-40 36-80 0z"/>'
    ),
    "women's clothing": (
        '<path d="M168 106l8 44-20 34-40 112h168l-40-112-20-34 8-44h-14q-18 36-36 0z"/>'
        '<path d="M156 184h88" stroke="#0003" stroke-width="8"/>'
    ),
}
BOX = '<rect x="130" y="130" width="140" height="140" rx="12"/>'


def draw(product_id: int, *, title: str, category: str) -> str:
    """Return an SVG picture of a product, always the same one for the same product."""
    hue = product_id * 47 % 360
    words = escape(title.strip()[:40])
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 400" role="img"'
        f' aria-label="{words}"><defs><linearGradient id="sky" x2="1" y2="1">'
        f'<stop stop-color="hsl({hue} 62% 58%)"/>'
        f'<stop offset="1" stop-color="hsl({(hue + 50) % 360} 66% 38%)"/></linearGradient></defs>'
        '<rect width="400" height="400" fill="url(#sky)"/>'
        '<circle cx="200" cy="200" r="138" fill="#ffffff22"/>'
        f'<g fill="#fff">{SHAPES.get(category, BOX)}</g>'
        '<text x="200" y="372" fill="#fff" font-family="system-ui,sans-serif" font-size="20"'
        f' text-anchor="middle">{words}</text></svg>'
    )
