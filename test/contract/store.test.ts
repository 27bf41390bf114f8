import { openTestStore } from '../support/store.ts'
import { storeContract } from './store.ts'

storeContract({ name: 'sqlite', open: () => openTestStore() })
storeContract({ name: 'sqlite, forgetful', open: () => openTestStore({ cacheLimit: 2, stretch: 5 }) })
