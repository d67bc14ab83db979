// A service worker that keeps the page's files in the browser: after the first visit the page works without its server.
// While the server answers, its files are used, and kept in place of the older ones.

const KEPT = `hearken ${self.registration.scope}`;
// Written by bindings/web/build.sh: all but the models of English, which are kept when they are used.
const FILES = [];

self.addEventListener("install", (event) => {
  const keep = async () => {
    await (await caches.open(KEPT)).addAll(FILES);
    await self.skipWaiting();
  };
  event.waitUntil(keep());
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && url.startsWith(self.registration.scope)) event.respondWith(answer(event));
});

async function answer(event) {
  const cache = await caches.open(KEPT);
  let fresh;
  try {
    fresh = await fetch(event.request);
  } catch (error) {
    const kept = await cache.match(event.request, { ignoreSearch: true });
    if (kept) return kept;
    throw error;
  }
  // If the storage is full, the page works, but not offline.
  if (fresh.status === 200) event.waitUntil(cache.put(event.request, fresh.clone()).catch(() => {}));
  return fresh;
}
