/* Keeps the whole site, so that it works offline after the first visit. files.js, written by
   tools/make_web_demo.py, names the files and their version; a new version comes with a reload. */

importScripts("files.js"); // VERSION, FILES

const CACHE = `hummingbird-${VERSION}`;

addEventListener("install", (event) => {
  event.waitUntil(keep());
});

async function keep() {
  // Asked for anew: the browser's own cache may hold files of an older version.
  const requests = FILES.map((file) => new Request(file, { cache: "no-cache" }));
  await (await caches.open(CACHE)).addAll(requests);
}

addEventListener("activate", (event) => {
  event.waitUntil(removeOld().then(() => clients.claim()));
});

async function removeOld() {
  const old = (await caches.keys()).filter((n) => n.startsWith("hummingbird-") && n !== CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
}

addEventListener("fetch", (event) => {
  event.respondWith(fromCache(event.request));
});

async function fromCache(request) {
  const cache = await caches.open(CACHE);
  return (await cache.match(request, { ignoreSearch: true })) ?? fetch(request);
}
