// oidc-provider, set up for natsgate's tests: real authorization code flow with PKCE and client credentials, JWT access
// tokens, keys made at start. Logs anybody in as anybody: loopback only, never for production.
//
// One argument, JSON: { ready_file, port, audience, alg, ttl }. When it listens it writes { issuer } to ready_file.
//
// What a token shall be is agreed beforehand: POST /devkit/tickets { subject, ttl, claims } answers { ticket }, which
// an authorization request carries as its login_hint, and a client_credentials request as `ticket`.
// The audience and the algorithm are the resource's: urn:natsgate:resource?audience=nats&alg=ES256.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';

// 8.8 is the newest that runs on Debian 12's Node 18: 9.0 calls crypto.hash and URL.parse, which came with 20 and 22.
import Provider from 'oidc-provider';

const options = JSON.parse(process.argv[2]);
const RESOURCE = 'urn:natsgate:resource';

const tickets = new Map();
const ticketOfGrant = new Map();

function key(alg, pair) {
  return { ...pair.privateKey.export({ format: 'jwk' }), use: 'sig', alg, kid: `${alg}-${randomBytes(6).toString('hex')}` };
}
const jwks = {
  keys: [
    key('RS256', generateKeyPairSync('rsa', { modulusLength: 2048 })),
    key('ES256', generateKeyPairSync('ec', { namedCurve: 'P-256' })),
  ],
};

function ticketOfToken(ctx, token) {
  return ticketOfGrant.get(token.grantId) ?? tickets.get(ctx?.oidc?.body?.ticket);
}
function life(ctx, token) {
  return ticketOfToken(ctx, token)?.ttl ?? options.ttl;
}

const server = createServer();
await new Promise((done) => server.listen(options.port, '127.0.0.1', done));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  jwks,
  cookies: { keys: [randomBytes(32).toString('hex')] },
  clients: [
    {
      client_id: 'natsgate-cli',
      application_type: 'native',
      token_endpoint_auth_method: 'none',
      grant_types: ['authorization_code'],
      response_types: ['code'],
      redirect_uris: ['http://127.0.0.1/callback'],
    },
    {
      client_id: 'natsgate-service',
      client_secret: 'development-only',
      token_endpoint_auth_method: 'client_secret_basic',
      grant_types: ['client_credentials'],
      response_types: [],
      redirect_uris: [],
    },
  ],
  pkce: { required: () => true },
  scopes: ['openid'],
  ttl: { AccessToken: life, ClientCredentials: life, Interaction: 600, Session: 600, Grant: 600, IdToken: 600 },
  findAccount: (ctx, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  extraTokenClaims: (ctx, token) => ticketOfToken(ctx, token)?.claims,
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => RESOURCE,
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, resource) => {
        const wanted = new URL(resource);
        return {
          scope: 'nats',
          audience: wanted.searchParams.get('audience') ?? options.audience,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: wanted.searchParams.get('alg') ?? options.alg } },
        };
      },
    },
  },
});
provider.on('grant.error', (ctx, error) => console.error(error.error, error.error_detail));
provider.on('server_error', (ctx, error) => console.error(error));

// Logs in whom the ticket names, and consents to everything.
async function interact(request, response) {
  const { prompt, params } = await provider.interactionDetails(request, response);
  const ticket = tickets.get(params.login_hint);
  if (!ticket) throw new Error('the authorization request has no known ticket as its login_hint');
  if (prompt.name === 'login') {
    return provider.interactionFinished(request, response, { login: { accountId: ticket.subject } });
  }
  const grant = new provider.Grant({ accountId: ticket.subject, clientId: params.client_id });
  grant.addOIDCScope('openid');
  for (const resource of [params.resource ?? RESOURCE].flat()) grant.addResourceScope(resource, 'nats');
  const grantId = await grant.save();
  ticketOfGrant.set(grantId, ticket);
  return provider.interactionFinished(request, response, { consent: { grantId } }, { mergeWithLastSubmission: true });
}

async function takeTicket(request, response) {
  let body = '';
  for await (const part of request) body += part;
  const ticket = randomBytes(16).toString('hex');
  tickets.set(ticket, JSON.parse(body));
  response.setHeader('content-type', 'application/json').end(JSON.stringify({ ticket }));
}

const handle = provider.callback();
server.on('request', (request, response) => {
  const ours =
    request.method === 'POST' && request.url === '/devkit/tickets' ? takeTicket
    : request.url.startsWith('/interaction/') ? interact
    : handle;
  Promise.resolve(ours(request, response)).catch((error) => {
    console.error(error);
    response.writeHead(500).end(String(error));
  });
});

// Written beside and renamed, so that whoever looks never reads half of it.
writeFileSync(`${options.ready_file}.part`, JSON.stringify({ issuer }));
renameSync(`${options.ready_file}.part`, options.ready_file);
