from __future__ import annotations

from loader.bundle.digest import digest_of
from loader.sharing import find_sharing
from tests.support.bundles import make_recipe
from tests.support.images import make_image, make_layer


def test_what_two_images_share_is_packed_once_and_weighs_in_both() -> None:
    base, mine = make_layer("base", 50_000), make_layer("mine", 9_000)
    manifest = make_recipe(
        [make_image(name="first", layers=[base, mine]), make_image(name="second", layers=[base])]
    ).manifest
    found = find_sharing(manifest)
    first, second = (image.path for image in manifest.images)
    assert [(blob.digest, blob.size, blob.paths) for blob in found.blobs] == [
        (digest_of(base), len(base), (first, second))
    ]
    for path in (first, second):
        assert found.sizes[path] == sum(file.size for file in manifest.files if file.path.startswith(f"{path}/"))
        assert found.own[path] == found.sizes[path] - len(base)
    assert found.own[first] > found.own[second] + 9_000


def test_an_image_alone_shares_nothing() -> None:
    found = find_sharing(make_recipe([make_image()]).manifest)
    assert found.blobs == ()
    assert found.sizes == found.own


def test_what_saves_most_comes_first() -> None:
    layers = [make_layer("small", 2_000), make_layer("large", 40_000), make_layer("middle", 20_000)]
    manifest = make_recipe([make_image(name=name, layers=layers) for name in ("a", "b", "c")]).manifest
    assert [blob.digest for blob in find_sharing(manifest).blobs] == [digest_of(layers[n]) for n in (1, 2, 0)]
